//! Streams the content of an origin's response. If it breaks off, one further request fetches the rest.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, response::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    Origin, OriginRequest, OriginResponse, answer::drop_aws_chunked, pool::Lease, subject::Subject,
    timeouts::Timeouts,
};
use crate::{
    cache::key::{CanonicalPath, Projection},
    http::{
        body::{Body, BodyError},
        entity_tag::EntityTag,
        range::ContentRange,
    },
    outbound::Error,
    traces::Trace,
};

/// Whether a response that breaks off may be continued by another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breaks {
    Continue,
    Fail,
}

/// The content of a response, within `timeouts`. Once it is fully read, the connection returns to its pool.
pub(super) fn content(
    origin: &Arc<Origin>,
    incoming: Incoming,
    lease: Lease,
    timeouts: Timeouts,
    continuation: Result<Continuation, NotContinued>,
    subject: Subject,
) -> Body {
    let length = http_body::Body::size_hint(&incoming).exact();
    if length == Some(0) {
        lease.give_back();
        return Body::empty();
    }
    let source = Source::Connection { incoming, lease };
    let state = Receiving {
        source,
        left: length,
        origin: Arc::clone(origin),
        continuation: continuation.map(Box::new),
        timeouts,
        subject,
    };
    state.into_body()
}

impl Origin {
    /// A response that a node of the cluster sent instead of this origin. If it breaks off, the origin sends the rest.
    pub(crate) fn continue_from(
        self: &Arc<Self>,
        mut answer: OriginResponse,
        request: &OriginRequest<'_>,
    ) -> OriginResponse {
        let length = http_body::Body::size_hint(&answer.body).exact();
        let part = (answer.status, answer.content_range.as_deref(), length);
        if let Some(continuation) = Continuation::if_possible(self, request, &answer.fields, part) {
            let body = std::mem::replace(&mut answer.body, Body::empty());
            let receiving = Receiving {
                source: Source::Peer(body),
                left: length,
                origin: Arc::clone(self),
                continuation: Ok(Box::new(continuation)),
                timeouts: self.timeouts(),
                subject: Subject::of(request),
            };
            answer.body = receiving.into_body();
        }
        answer
    }
}

/// A response whose content is being read.
struct Receiving {
    source: Source,
    /// Bytes not read yet, if the length is known.
    left: Option<u64>,
    origin: Arc<Origin>,
    continuation: Result<Box<Continuation>, NotContinued>,
    timeouts: Timeouts,
    /// The request, for the log.
    subject: Subject,
}

/// The source of the bytes.
enum Source {
    Connection {
        incoming: Incoming,
        lease: Lease,
    },
    /// A node of the cluster, instead of the origin.
    Peer(Body),
    /// The response to the request for the rest.
    Rest(Body),
}

impl Receiving {
    fn into_body(self) -> Body {
        let length = self.left;
        let chunks = futures_util::stream::try_unfold(Some(self), |state| async move {
            let Some(state) = state else { return Ok(None) };
            state.next().await
        });
        Body::stream(length, chunks)
    }

    /// The next bytes, and the response to continue with unless they are the last.
    async fn next(mut self) -> Result<Option<(Bytes, Option<Self>)>, BodyError> {
        loop {
            let error = match self.read().await {
                Ok(None) => {
                    self.finish();
                    return Ok(None);
                }
                Ok(Some(data)) => {
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    if let Ok(continuation) = &mut self.continuation {
                        continuation.next += data.len() as u64;
                    }
                    if self.left == Some(0) {
                        self.finish();
                        return Ok(Some((data, None)));
                    }
                    return Ok(Some((data, Some(self))));
                }
                Err(error) => error,
            };
            self = self.resume(error).await?;
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, BodyError> {
        match &mut self.source {
            Source::Connection { incoming, .. } => next_data(incoming, &mut self.timeouts).await,
            Source::Peer(body) | Source::Rest(body) => match body.frame().await.transpose()? {
                Some(frame) => Ok(Some(frame.into_data().unwrap_or_default())),
                None => Ok(None),
            },
        }
    }

    /// Fetches the rest after `error`, or fails with it.
    async fn resume(mut self, error: BodyError) -> Result<Self, BodyError> {
        let continuation =
            std::mem::replace(&mut self.continuation, Err(NotContinued::AlreadyContinued));
        let continuation = match continuation {
            Ok(continuation) => continuation,
            Err(reason) => {
                // A continuation's failure was already logged when it was read.
                if matches!(self.source, Source::Connection { .. }) {
                    self.origin.log_break(&self.subject, &error, Err(&reason));
                }
                return Err(error);
            }
        };
        let is_peers = matches!(self.source, Source::Peer(_));
        // Frees the broken connection and the client's connection share before the next request.
        self.source = Source::Rest(Body::empty());
        // The budget is for failures of the origin.
        let rest = if is_peers || self.origin.budget.withdraw() {
            continuation.fetch(&self.origin, &mut self.timeouts).await
        } else {
            Err(NotContinued::NoRetryLeft)
        };
        if rest.is_err() || !is_peers {
            self.origin.log_break(&self.subject, &error, rest.as_ref().map(|_| ()));
        }
        match rest {
            Ok(body) => Ok(Self { source: Source::Rest(body), ..self }),
            Err(_) => Err(error),
        }
    }

    fn finish(self) {
        if let Source::Connection { lease, .. } = self.source {
            lease.give_back();
        }
    }
}

async fn next_data(
    incoming: &mut Incoming,
    timeouts: &mut Timeouts,
) -> Result<Option<Bytes>, BodyError> {
    loop {
        let frame = timeouts.wait(incoming.frame()).await.map_err(|error| {
            BodyError::Aborted(match error {
                Error::CompletionTimeout => "the origin did not complete its response in time",
                _ => "the origin stopped sending",
            })
        })?;
        match frame {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(data) = frame?.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The reason why the rest of a response cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotContinued {
    #[error(transparent)]
    Request(#[from] Error),
    #[error("the origin's retry budget is exhausted")]
    NoRetryLeft,
    #[error("the object changed")]
    ObjectChanged,
    #[error("the origin answered {0} to the request for the rest")]
    Status(StatusCode),
    #[error("the origin did not send the requested part, or sent it in another coding")]
    OtherPart,
    #[error(
        "the response has no strong entity tag or no known length, or the origin serves no ranges"
    )]
    Impossible,
    #[error("the response is itself a continuation of another one")]
    AlreadyContinued,
}

/// The data needed to request the rest of a response: a range of the same version of the object.
pub(super) struct Continuation {
    path: CanonicalPath<'static>,
    projection: Projection<'static>,
    /// The request's fields without its range and conditions.
    fields: HeaderMap,
    client: Option<std::net::IpAddr>,
    id: Option<Box<str>>,
    trace: Option<Arc<Trace>>,
    etag: HeaderValue,
    coding: Option<HeaderValue>,
    /// The first byte that has not arrived.
    next: u64,
    end: u64,
    complete: u64,
}

impl Continuation {
    /// The continuation of a response: the content of an object, or one range of it, with a strong entity tag.
    pub(super) fn of(
        origin: &Origin,
        request: &OriginRequest<'_>,
        parts: &Parts,
        incoming: &Incoming,
    ) -> Result<Self, NotContinued> {
        let range = parts.headers.get(header::CONTENT_RANGE).map(HeaderValue::as_bytes);
        let part = (parts.status, range, http_body::Body::size_hint(incoming).exact());
        Self::if_possible(origin, request, &parts.headers, part).ok_or(NotContinued::Impossible)
    }

    /// The continuation of a response with this status, `Content-Range` and length.
    fn if_possible(
        origin: &Origin,
        request: &OriginRequest<'_>,
        headers: &HeaderMap,
        (status, range, length): (StatusCode, Option<&[u8]>, Option<u64>),
    ) -> Option<Self> {
        if request.method != Method::GET {
            return None;
        }
        let length = length?;
        let etag = headers.get(header::ETAG)?;
        if !EntityTag::parse(etag.as_bytes())?.is_strong() {
            return None;
        }
        // RFC 9110 §14.3: a server without `Accept-Ranges` may still serve ranges.
        let serves_ranges = origin.is_s3()
            || headers.get(header::ACCEPT_RANGES).is_none_or(|units| units != "none");
        let (bytes, complete) = match status {
            StatusCode::OK if serves_ranges => (0..length, length),
            StatusCode::PARTIAL_CONTENT => {
                let range = ContentRange::parse(range?)?;
                (range.bytes?, range.complete?)
            }
            _ => return None,
        };
        if bytes.end - bytes.start != length {
            return None;
        }
        let coding = headers.get(header::CONTENT_ENCODING).cloned();
        let coding = coding.map(|coding| (header::CONTENT_ENCODING, coding));
        let mut coding: HeaderMap = coding.into_iter().collect();
        if origin.is_s3() {
            drop_aws_chunked(&mut coding);
        }
        let mut fields = request.fields.clone();
        for name in [
            header::RANGE,
            header::IF_RANGE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_UNMODIFIED_SINCE,
        ] {
            fields.remove(name);
        }
        Some(Self {
            path: request.path.clone().into_owned(),
            projection: request.projection.clone().into_owned(),
            fields,
            client: request.client,
            id: request.id.clone(),
            trace: request.trace.clone(),
            etag: etag.clone(),
            coding: coding.remove(header::CONTENT_ENCODING),
            next: bytes.start,
            end: bytes.end,
            complete,
        })
    }

    /// Fetches the rest of the content.
    async fn fetch(
        mut self,
        origin: &Arc<Origin>,
        timeouts: &mut Timeouts,
    ) -> Result<Body, NotContinued> {
        if timeouts.left().is_zero() {
            return Err(NotContinued::Request(Error::CompletionTimeout));
        }
        let range = HeaderValue::try_from(format!("bytes={}-{}", self.next, self.end - 1));
        self.fields.insert(header::RANGE, range.map_err(|error| Error::Request(error.into()))?);
        self.fields.insert(header::IF_MATCH, self.etag.clone());
        let request = OriginRequest {
            method: Method::GET,
            path: &self.path,
            projection: &self.projection,
            fields: self.fields,
            client: self.client,
            id: self.id,
            on_interim: None,
            trace: self.trace,
        };
        let sent = origin.send_within(&request, None, timeouts, Breaks::Fail);
        // Boxed: a continuation uses the same code as all requests, so the future is recursive.
        let answer = Box::pin(sent).await?;
        match answer.status {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::PRECONDITION_FAILED => return Err(NotContinued::ObjectChanged),
            status => return Err(NotContinued::Status(status)),
        }
        let fields = &answer.fields;
        if fields.get(header::ETAG).is_some_and(|etag| *etag != self.etag) {
            return Err(NotContinued::ObjectChanged);
        }
        let range = answer.content_range.as_deref().and_then(ContentRange::parse);
        let length = http_body::Body::size_hint(&answer.body).exact();
        let is_rest = fields.contains_key(header::ETAG)
            && fields.get(header::CONTENT_ENCODING) == self.coding.as_ref()
            && length == Some(self.end - self.next)
            && range.is_some_and(|range| {
                range.bytes == Some(self.next..self.end) && range.complete == Some(self.complete)
            });
        if is_rest { Ok(answer.body) } else { Err(NotContinued::OtherPart) }
    }
}
