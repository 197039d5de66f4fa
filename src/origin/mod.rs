//! Origins: S3 buckets, asked with signed requests, and plain HTTP servers.
//!
//! An origin request is built, never copied: from method, canonical path, the policy's projection
//! and the fields given here. Nothing else of what a viewer sent can reach an origin.

mod answer;
mod denials;
mod error_log;
mod group;
mod message;
mod options;
mod pool;
mod progress;
mod retry;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;

pub use answer::OriginResponse;
use answer::{Facts, Times, cache_tags, plain_fields, read_s3_error, s3_fields, timed_body};
pub use denials::Denial;
use denials::Denials;
pub use error_log::ErrorLog;
pub(crate) use error_log::{DENIED, failure};
pub use group::{FAILOVER_CODES, Group, Reply};
pub use options::{Options, Protocol, Signing};
use pool::{Pool, QUEUE_PATIENCE, Want};
use progress::Progress;

use crate::{
    access::restrict::{Share, Shares},
    aws::Credentials,
    base::{
        clock::{Clock, Stopwatch},
        metrics::OriginMetrics,
    },
    cache::key::{CanonicalPath, Projection},
    http::{
        body::Body,
        range::{ContentRange, RangeRequest, Selected},
    },
    outbound::{Error, ErrorClass, Timing, TrustError, USER_AGENT, connect::Connector},
};

/// A request as the edge describes it.
#[derive(Debug)]
pub struct OriginRequest<'a> {
    /// Method.
    pub method: Method,
    /// The canonical path, as in the key.
    pub path: &'a CanonicalPath<'a>,
    /// What the policy takes from the viewer's request.
    pub projection: &'a Projection<'a>,
    /// Range and conditions, and what describes a body.
    pub fields: HeaderMap,
    /// The client at whose pace the exchange goes on, if it is one's.
    pub client: Option<IpAddr>,
}

/// An origin with its connections.
pub struct Origin {
    options: Options,
    pool: Arc<Pool>,
    clients: Arc<Shares>,
    denials: Denials,
    credentials: Arc<Credentials>,
    budget: retry::Budget,
    clock: Clock,
    metrics: OriginMetrics,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Origin {
    /// Prepares an origin; connects to nothing yet.
    ///
    /// # Errors
    /// When the certificates to trust cannot be loaded.
    pub fn new(
        options: Options,
        credentials: Arc<Credentials>,
        clock: Clock,
        metrics: OriginMetrics,
    ) -> Result<Self, TrustError> {
        let connector = Connector::new(
            options.address.clone(),
            options.ca_file.as_deref(),
            options.connect_timeout,
            options.connect_attempts,
            options.response_head,
        )?;
        let pool = Pool::new(connector, options.max_connections);
        // An origin of this name that a reload replaced may have been denying.
        metrics.mass_denial(false);
        let clients = Shares::of(options.max_connections, options.max_connections_per_client);
        Ok(Self {
            options,
            pool,
            clients,
            credentials,
            budget: retry::Budget::new(),
            denials: Denials::default(),
            clock,
            metrics,
        })
    }

    /// What it was made from.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Whether it is an S3 bucket.
    #[must_use]
    pub const fn is_s3(&self) -> bool {
        matches!(self.options.protocol, Protocol::S3 { .. })
    }

    /// At which path it has an object of a bucket: `None` where that is another bucket, or the object
    /// is not below `origin_path`. A folder that holds `origin_path` is all that it has.
    #[must_use]
    pub fn path_of(&self, bucket: &str, key: &str) -> Option<String> {
        let Protocol::S3 { bucket: own, .. } = &self.options.protocol else { return None };
        path_below(&self.options.origin_path, key).filter(|_| own == bucket)
    }

    /// Whether it wants credentials to sign with.
    #[must_use]
    pub const fn signs(&self) -> bool {
        self.options.protocol.is_signed()
    }

    /// Asks the origin. Safe methods are tried again on a new connection, within bounds.
    ///
    /// # Errors
    /// When there is no answer, or one of S3 that is not about the object. An S3 answer about
    /// the object (404, 403, 412, 416) is an [`OriginResponse`] with an empty body.
    pub async fn send(
        &self,
        request: &OriginRequest<'_>,
        mut body: Option<Body>,
    ) -> Result<OriginResponse, Error> {
        let safe = request.method.is_safe() && body.is_none();
        self.budget.pay_in();
        // A kept-alive connection may be closed under a request; only a safe one can be repeated.
        let mut want = if safe { Want::Any } else { Want::New };
        let mut attempt = 1;
        loop {
            let generation = self.credentials.current().map(|keys| keys.generation);
            let error = match self.send_once(request, body.take(), want).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !error.error.is_viewers() {
                self.metrics.error(error.error.class().token());
            }
            let retry = safe
                && attempt < retry::MAX_ATTEMPTS
                && (error.on_reused
                    || self.newer_credentials(&error.error, generation)
                    || (error.error.may_pass() && self.budget.withdraw()));
            if !retry {
                return Err(error.error);
            }
            if !error.on_reused {
                tokio::time::sleep(retry::pause(attempt)).await;
            }
            want = Want::New;
            attempt += 1;
        }
    }

    /// A refusal of credentials wakes their renewal; it is worth a second try only when newer
    /// ones are installed already.
    fn newer_credentials(&self, error: &Error, used: Option<u64>) -> bool {
        if error.class() != ErrorClass::Configuration {
            return false;
        }
        self.credentials.wake();
        self.credentials.current().map(|keys| keys.generation) > used
    }

    async fn send_once(
        &self,
        request: &OriginRequest<'_>,
        body: Option<Body>,
        want: Want,
    ) -> Result<OriginResponse, Failed> {
        if self.signs() {
            self.credentials.first().await;
        }
        let mut message = self.message(request, body).map_err(Failed::before_sending)?;
        let requested_at = self.clock.now();
        let watch = Stopwatch::start();
        let share = self.share(request.client).await.map_err(Failed::before_sending)?;
        let mut lease = self.pool.checkout(want).await.map_err(Failed::before_sending)?;
        lease.share = share;
        let on_reused = lease.reused;
        let progress = Progress::of(&mut message);
        let sent = lease.send(message);
        let response = progress.watch(sent, self.options.response_timeout).await;
        let response = response.map_err(|error| {
            // A used connection may be closed, or hold what belongs to an earlier response.
            let is_stale = matches!(error, Error::Connection(_) | Error::Malformed(_));
            let on_reused = on_reused && is_stale;
            Failed { error, on_reused }
        })?;
        self.metrics.answered(watch.elapsed());
        let timing = Timing { first_byte: watch.elapsed(), ..lease.timing };
        let times = Times { requested_at, received_at: self.clock.now(), timing };
        let (parts, incoming) = response.into_parts();
        let body = timed_body(incoming, lease, self.options.response_timeout);
        self.read(request, parts, body, times).await.map_err(Failed::before_sending)
    }

    /// A part of the connections for a response that is sent at this client's pace, unless it holds its part
    /// already.
    #[must_use]
    pub fn share_for(&self, client: IpAddr) -> Option<Share> {
        self.clients.take(client)
    }

    /// The client's part of the connections. One that reads or sends slowly keeps nobody else waiting.
    async fn share(&self, client: Option<IpAddr>) -> Result<Option<Share>, Error> {
        let Some(client) = client else { return Ok(None) };
        let share = self.clients.wait(client, QUEUE_PATIENCE).await;
        share.map(Some).ok_or(Error::ClientBusy)
    }

    async fn read(
        &self,
        request: &OriginRequest<'_>,
        parts: http::response::Parts,
        body: Body,
        times: Times,
    ) -> Result<OriginResponse, Error> {
        if is_unexpected(request, parts.status) {
            return Err(Error::UnexpectedStatus(parts.status));
        }
        let facts = self.facts(&parts);
        if !self.is_s3() {
            let status = parts.status;
            let shown = |fields| plain_fields(status, fields);
            return Ok(OriginResponse::new(parts, shown, body, times, facts));
        }
        if parts.status == StatusCode::PARTIAL_CONTENT
            && !is_requested_range(request, &parts.headers)
        {
            return Err(Error::WrongRange);
        }
        if parts.status.is_success() || parts.status == StatusCode::NOT_MODIFIED {
            return Ok(OriginResponse::new(parts, s3_fields, body, times, facts));
        }
        if request.method == Method::HEAD {
            // The answer to a HEAD has no document to tell why; a GET of one byte has.
            let again = OriginRequest {
                method: Method::GET,
                path: request.path,
                projection: request.projection,
                fields: one_byte(),
                client: request.client,
            };
            let answer = Box::pin(self.send(&again, None)).await?;
            let told =
                answer.status.is_success() || answer.status == StatusCode::RANGE_NOT_SATISFIABLE;
            let status = if told { parts.status } else { answer.status };
            return Ok(OriginResponse {
                status,
                body: Body::empty(),
                announced_length: None,
                content_range: None,
                ..answer
            });
        }
        read_s3_error(&parts, body).await?;
        let nothing = |_| HeaderMap::new();
        Ok(OriginResponse::new(parts, nothing, Body::empty(), times, facts))
    }
}

impl Origin {
    fn facts(&self, parts: &http::response::Parts) -> Facts {
        let tags = self.options.cache_tag_header.as_ref();
        let tags = tags.map(|name| cache_tags(&parts.headers, name)).unwrap_or_default();
        Facts { bucket: self.is_s3(), tags }
    }
}

/// Whether a request had nothing that could lead to this status: a protocol to switch to, a range, or a
/// condition.
fn is_unexpected(request: &OriginRequest<'_>, status: StatusCode) -> bool {
    let has = |name: HeaderName| request.fields.contains_key(name);
    match status {
        StatusCode::SWITCHING_PROTOCOLS => true,
        StatusCode::PARTIAL_CONTENT => request.method != Method::GET || !has(header::RANGE),
        StatusCode::NOT_MODIFIED => !has(header::IF_NONE_MATCH) && !has(header::IF_MODIFIED_SINCE),
        _ => false,
    }
}

/// Whether `Content-Range` has exactly the bytes that the request's `Range` selects. S3 always includes the whole length.
/// Some S3 servers send several ranges as `multipart/byteranges`.
fn is_requested_range(request: &OriginRequest<'_>, fields: &HeaderMap) -> bool {
    let received = fields.get(header::CONTENT_RANGE);
    let received = received.and_then(|value| ContentRange::parse(value.as_bytes()));
    let requested = request.fields.get(header::RANGE).map(HeaderValue::as_bytes);
    match (RangeRequest::parse(requested), received) {
        (
            RangeRequest::Single(range),
            Some(ContentRange { bytes: Some(bytes), complete: Some(length) }),
        ) => range.select(length) == Selected::Bytes(bytes),
        (RangeRequest::Several(_), None) => {
            let media_type = fields.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
            let media_type = media_type.map(<[u8]>::to_ascii_lowercase).unwrap_or_default();
            media_type.starts_with(b"multipart/byteranges")
        }
        // RFC 9110 §15.3.7: several ranges may become one, if they adjoin or only one is satisfiable.
        (
            RangeRequest::Several(ranges),
            Some(ContentRange { bytes: Some(bytes), complete: Some(length) }),
        ) => {
            let selected = ranges.iter().filter_map(|range| match range.select(length) {
                Selected::Bytes(bytes) => Some(bytes),
                Selected::Unsatisfiable => None,
            });
            let hull = selected.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
            hull.is_some_and(|hull| hull.start <= bytes.start && bytes.end <= hull.end)
        }
        // The server understands a list that the edge does not, such as one of many ranges.
        (RangeRequest::Whole, _) => request.fields.contains_key(header::RANGE),
        _ => false,
    }
}

/// A failed attempt, and whether it failed on a connection that had served before.
struct Failed {
    error: Error,
    on_reused: bool,
}

impl Failed {
    const fn before_sending(error: Error) -> Self {
        Self { error, on_reused: false }
    }
}

fn one_byte() -> HeaderMap {
    let range = HeaderValue::from_static("bytes=0-0");
    HeaderMap::from_iter([(header::RANGE, range)])
}

/// The path of a key below `origin_path`, which is percent-encoded as requests carry it.
fn path_below(origin_path: &str, key: &str) -> Option<String> {
    let base = percent_decode_str(origin_path).decode_utf8().ok()?;
    let path = format!("/{key}");
    match path.strip_prefix(&*base) {
        Some(below) if below.starts_with('/') => Some(below.to_owned()),
        _ => (path.ends_with('/') && format!("{base}/").starts_with(&path)).then(|| "/".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths_below_the_origin_path() {
        for (base, key, expected) in [
            ("", "a b.jpg", Some("/a b.jpg")),
            ("/media", "media/a.jpg", Some("/a.jpg")),
            ("/media", "medium/a.jpg", None),
            ("/media", "media2/a.jpg", None),
            ("/year%3D2026/%C3%A9", "year=2026/é/a.jpg", Some("/a.jpg")),
            ("/site/prod", "site/", Some("/")),
            ("/site/prod", "", Some("/")),
            ("/site/prod", "site/prod/", Some("/")),
            ("/site/prod", "site", None),
        ] {
            assert_eq!(path_below(base, key).as_deref(), expected, "{base} {key}");
        }
    }
}
