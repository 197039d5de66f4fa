//! A fetch: the origin request behind a forward, and what becomes of its answer.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::{Edge, admit::Ask, forward::Forwarded, refusal};
use crate::{
    behavior::Behavior,
    body::Body,
    key::{CanonicalPath, Projection},
    origin::{Answer, ErrorClass, Origin, OriginRequest},
    policy::{Freshness, NotStored, Received, storable},
    semantics::{
        entity_tag::EntityTag,
        range::{ByteRange, ContentRange, RangeRequest},
    },
    store::{Content, Failure, Obligation, StoredResponse},
};

/// How long it is remembered that a key's answer could not be stored.
const REMEMBER_UNSTORABLE: Duration = Duration::from_secs(10);

/// How long a body of unknown length is collected before it is passed on unstored.
const COLLECT: Duration = Duration::from_secs(1);

/// One origin request on behalf of all that wait for it.
pub(super) struct Fetch {
    edge: Arc<Edge>,
    origin: Arc<Origin>,
    behavior: Arc<Behavior>,
    path: CanonicalPath<'static>,
    projection: Projection<'static>,
    range: Option<ByteRange>,
    seen: Option<Arc<StoredResponse>>,
    obligation: Obligation,
    told: oneshot::Sender<Forwarded>,
}

/// A body and which bytes of the representation it carries.
struct Received206 {
    bytes: Range<u64>,
    complete: u64,
}

impl Fetch {
    pub(super) fn new(
        edge: &Arc<Edge>,
        ask: &Ask<'_>,
        seen: Option<Arc<StoredResponse>>,
        obligation: Obligation,
        told: oneshot::Sender<Forwarded>,
    ) -> Self {
        let range = ask.fields.get(header::RANGE).filter(|_| *ask.method == Method::GET);
        let range = match RangeRequest::parse(range.map(HeaderValue::as_bytes)) {
            RangeRequest::Whole => None,
            RangeRequest::Single(range) => Some(range),
        };
        Self {
            edge: Arc::clone(edge),
            origin: Arc::clone(ask.origin()),
            behavior: Arc::clone(ask.behavior),
            path: ask.path.clone().into_owned(),
            projection: ask.projection.clone().into_owned(),
            range,
            seen,
            obligation,
            told,
        }
    }

    /// Asks, then settles the obligation one way or another.
    pub(super) async fn run(self) {
        let sent = match self.send(self.range).await {
            // The range lies outside the object: the whole tells its length.
            Ok(answer) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                self.send(None).await
            }
            sent => sent,
        };
        match sent {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => self.freshen(answer).await,
            Ok(answer) => self.settle(answer).await,
            Err(failure) => self.fail(failure),
        }
    }

    async fn send(&self, range: Option<ByteRange>) -> Result<Answer, Failure> {
        let mut fields = HeaderMap::new();
        if let Some(value) = range.and_then(|range| self.aligned(range)) {
            fields.insert(header::RANGE, value);
        }
        if let Some(seen) = &self.seen {
            // RFC 9111 §4.3.1: both validators, where there are both
            for (validator, condition) in [
                (header::ETAG, header::IF_NONE_MATCH),
                (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
            ] {
                if let Some(value) = seen.fields.get(&validator) {
                    fields.insert(condition, value);
                }
            }
        }
        let request = OriginRequest {
            method: Method::GET,
            path: &self.path,
            projection: &self.projection,
            fields,
        };
        let sent = self.origin.send(request, None).await;
        sent.map_err(|error| self.edge.troubles.failure(&self.origin, &error))
    }

    /// The range to ask the origin for: whole slices, so that what comes can be stored.
    fn aligned(&self, range: ByteRange) -> Option<HeaderValue> {
        let slice = u64::from(self.edge.store.options().slice);
        let start_of = |at: u64| at / slice * slice;
        let end_of = |at: u64| start_of(at).saturating_add(slice - 1);
        let text = match range {
            ByteRange::FromTo(first, last) => format!("bytes={}-{}", start_of(first), end_of(last)),
            ByteRange::From(first) => format!("bytes={}-", start_of(first)),
            // Where the end is, is not known yet; the first slice tells.
            ByteRange::Last(_) => format!("bytes=0-{}", slice - 1),
        };
        HeaderValue::try_from(text).ok()
    }

    fn fail(self, failure: Failure) {
        self.obligation.fail(failure);
        // The viewer may have left; then nobody needs to be told.
        let _ = self.told.send(Forwarded::Failed(failure));
    }

    /// RFC 9111 §4.3.4: a 304 renews the stored response it was asked about.
    async fn freshen(mut self, answer: Answer) {
        let Some(seen) = self.seen.clone() else {
            return self.fail(refusal::failure(ErrorClass::Other));
        };
        if !confirms(&answer, &seen) {
            drop(answer);
            // It is about another version than ours: ask for that, without conditions.
            self.seen = None;
            return match self.send(self.range).await {
                Ok(answer) => self.settle(answer).await,
                Err(failure) => self.fail(failure),
            };
        }
        let now = self.edge.clock.now();
        let born = self.obligation.born();
        let mut renewed = seen.freshened(&answer.fields, seen.freshness, born);
        let decided = self.decide(seen.status, &renewed.fields.to_map(), &answer);
        renewed.freshness = decided.unwrap_or(seen.freshness);
        let response = Arc::new(renewed);
        if decided.is_ok() {
            self.obligation.fulfil(Arc::clone(&response), now);
        } else {
            // What it says now may not be stored: it answers this request and no other.
            self.obligation.release(now + REMEMBER_UNSTORABLE);
        }
        let stored = Forwarded::Stored { response, validated: true, collapsed: false };
        let _ = self.told.send(stored);
    }

    fn decide(
        &self,
        status: StatusCode,
        fields: &HeaderMap,
        answer: &Answer,
    ) -> Result<Freshness, NotStored> {
        let received = Received {
            status,
            fields,
            requested_at: answer.requested_at,
            received_at: answer.received_at,
        };
        let policy = &self.behavior.cache_policy;
        storable(&received, &policy.ttl, policy.honor_private)
    }

    async fn settle(self, mut answer: Answer) {
        if self.origin.is_s3() && !answer.status.is_success() {
            if answer.status == StatusCode::FORBIDDEN {
                self.edge.troubles.denied(&self.origin);
            }
            let (fields, page) = refusal::page(answer.status);
            answer.fields = fields;
            answer.body = Body::full(page);
        }
        let freshness = match self.decide(answer.status, &answer.fields, &answer) {
            Ok(freshness) => freshness,
            Err(reason) => return self.release(answer, reason),
        };
        let partial = match partial(&answer) {
            Ok(partial) => partial,
            Err(failure) => return self.fail(failure),
        };
        let length = match &partial {
            Some(partial) => Some(partial.complete),
            None => http_body::Body::size_hint(&answer.body).exact(),
        };
        match length {
            Some(length) => self.store(answer, freshness, partial, length).await,
            None => self.collect(answer, freshness).await,
        }
    }

    /// The answer is for one viewer only; everybody else must ask again.
    fn release(self, answer: Answer, reason: NotStored) {
        // An origin in trouble is no news about the object: what is stored of it stays.
        let trouble =
            answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS;
        if !trouble {
            self.obligation.release(self.edge.clock.now() + REMEMBER_UNSTORABLE);
        }
        // A part was asked for in slices of ours, not as the viewer did: it must ask for itself.
        let forwarded = match answer.status {
            StatusCode::PARTIAL_CONTENT => Forwarded::Alone,
            _ => Forwarded::Unstorable(Box::new(answer), reason),
        };
        let _ = self.told.send(forwarded);
    }

    async fn store(
        self,
        answer: Answer,
        freshness: Freshness,
        partial: Option<Received206>,
        length: u64,
    ) {
        let slice = self.edge.store.options().slice;
        let sliced = length > u64::from(slice);
        let is_object = matches!(answer.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        let countable = length / u64::from(slice) < u64::from(u32::MAX);
        if sliced && !(is_object && countable && StoredResponse::is_sliceable(&answer.fields)) {
            return self.release(answer, NotStored::Status);
        }
        let content = Arc::new(match length {
            0 => Content::complete(Bytes::new()),
            _ => Content::new(length, slice),
        });
        let bytes = partial.map_or(0..length, |partial| partial.bytes);
        let arriving = content.slices_of(&bytes);
        if content.bytes_of(&arriving) != bytes {
            // Not the range that was asked for: it fits no slices.
            return self.release(answer, NotStored::Status);
        }
        let fill = self.edge.store.fill(&content, arriving, answer.body);
        let status = if answer.status == StatusCode::PARTIAL_CONTENT {
            StatusCode::OK
        } else {
            answer.status
        };
        let born = self.obligation.born();
        let response =
            Arc::new(StoredResponse::new(status, &answer.fields, freshness, content, born));
        self.obligation.fulfil(Arc::clone(&response), self.edge.clock.now());
        let stored = Forwarded::Stored { response, validated: false, collapsed: false };
        let _ = self.told.send(stored);
        fill.await;
    }

    /// A body of unknown length is stored when it ends within one slice and soon; otherwise what
    /// came of it and what will come stream to the viewer who asked.
    async fn collect(self, mut answer: Answer, freshness: Freshness) {
        let limit = self.edge.store.options().slice as usize;
        let mut collected = BytesMut::new();
        let ended = tokio::time::timeout(COLLECT, async {
            while collected.len() <= limit {
                match answer.body.frame().await {
                    None => return Some(true),
                    Some(Err(_)) => return None,
                    Some(Ok(frame)) => {
                        collected.extend_from_slice(&frame.into_data().unwrap_or_default());
                    }
                }
            }
            Some(false)
        })
        .await;
        match ended {
            Ok(None) => self.fail(refusal::failure(ErrorClass::Connection)),
            Ok(Some(true)) if collected.len() <= limit => {
                let length = collected.len() as u64;
                let answer = Answer { body: Body::full(collected.freeze()), ..answer };
                self.store(answer, freshness, None, length).await;
            }
            _ => {
                answer.body.unread(collected.freeze());
                self.release(answer, NotStored::Useless);
            }
        }
    }
}

/// RFC 9111 §4.3.4: a 304 with an entity tag is about the response that has the same.
fn confirms(answer: &Answer, seen: &StoredResponse) -> bool {
    let stored = seen.fields.get(&header::ETAG);
    match (answer.fields.get(header::ETAG), &stored) {
        (Some(told), Some(stored)) => {
            let tags = (EntityTag::parse(told.as_bytes()), EntityTag::parse(stored.as_bytes()));
            matches!(tags, (Some(told), Some(stored)) if told.weak_eq(&stored))
        }
        _ => true,
    }
}

/// What a 206 carries; an error where it is not a range of a known whole.
fn partial(answer: &Answer) -> Result<Option<Received206>, Failure> {
    if answer.status != StatusCode::PARTIAL_CONTENT {
        return Ok(None);
    }
    let range = answer.content_range.as_deref().and_then(ContentRange::parse);
    match range.map(|range| (range.bytes, range.complete)) {
        Some((Some(bytes), Some(complete))) => Ok(Some(Received206 { bytes, complete })),
        _ => Err(refusal::failure(ErrorClass::Other)),
    }
}
