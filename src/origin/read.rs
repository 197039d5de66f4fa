//! Reads a response: unexpected ones are errors, and S3's errors are classified.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    Origin, OriginRequest, OriginResponse,
    answer::{Facts, Times, cache_tags, plain_fields, read_s3_error, s3_fields},
    content::Breaks,
    pool::Want,
};
use crate::{
    http::{
        body::Body,
        range::{ContentRange, RangeRequest, Selected},
    },
    outbound::{Error, s3_error::S3Class},
};

impl Origin {
    pub(super) async fn read(
        self: &Arc<Self>,
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
        let nothing = |_| HeaderMap::new();
        if request.method == Method::OPTIONS && parts.status.is_client_error() {
            // The bucket's CORS rules do not allow the request that the preflight announces.
            return Ok(OriginResponse::new(parts, nothing, Body::empty(), times, facts));
        }
        let is_throttled = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]
            .contains(&parts.status);
        if request.method == Method::HEAD && !is_throttled {
            return Box::pin(self.error_of_head(request, parts.status)).await;
        }
        read_s3_error(request, &parts, body).await?;
        Ok(OriginResponse::new(parts, nothing, Body::empty(), times, facts))
    }

    /// The response to a HEAD that failed with `status`. S3's error to a HEAD has no document that names the cause, so
    /// a GET requests one byte.
    async fn error_of_head(
        self: &Arc<Self>,
        request: &OriginRequest<'_>,
        status: StatusCode,
    ) -> Result<OriginResponse, Error> {
        let range = HeaderValue::from_static("bytes=0-0");
        let get = OriginRequest {
            method: Method::GET,
            path: request.path,
            projection: request.projection,
            fields: HeaderMap::from_iter([(header::RANGE, range)]),
            client: request.client,
            id: request.id.clone(),
            on_interim: None,
            trace: request.trace.clone(),
        };
        // Part of the same request: one attempt, regardless of throttle and budget.
        let mut timeouts = self.timeouts();
        let sent_at = self.clock.uptime();
        let sent =
            self.send_once(&get, None, Want::New, &mut timeouts, Breaks::Fail, sent_at).await;
        let answer = sent.map_err(|failed| failed.error)?;
        let answer = OriginResponse {
            body: Body::empty(),
            announced_length: None,
            content_range: None,
            ..answer
        };
        let is_readable =
            answer.status.is_success() || answer.status == StatusCode::RANGE_NOT_SATISFIABLE;
        if !is_readable {
            return Ok(answer);
        }
        if status.is_server_error() {
            let (class, code) = (S3Class::Transient, "without a code".to_owned());
            return Err(Error::S3 { class, status, code, region: None, retry_after: None });
        }
        // HEAD and GET disagree: the error concerns the HEAD alone and is not stored.
        let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let fields = HeaderMap::from_iter([no_store]);
        Ok(OriginResponse { status, fields, bucket: false, ..answer })
    }

    pub(super) fn facts(&self, parts: &http::response::Parts) -> Facts {
        let tags = self.options.cache_tag_header.as_ref();
        let tags = tags.map(|name| cache_tags(&parts.headers, name)).unwrap_or_default();
        Facts { bucket: self.is_s3(), tags }
    }
}

/// Whether nothing in a request could lead to this status: no range, no condition.
fn is_unexpected(request: &OriginRequest<'_>, status: StatusCode) -> bool {
    let has = |name: HeaderName| request.fields.contains_key(name);
    match status {
        StatusCode::PARTIAL_CONTENT => request.method != Method::GET || !has(header::RANGE),
        StatusCode::NOT_MODIFIED => !has(header::IF_NONE_MATCH) && !has(header::IF_MODIFIED_SINCE),
        _ => false,
    }
}

/// Whether `Content-Range` has exactly the bytes that the request's `Range` selects. S3 always sends the whole length.
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
        // RFC 9110 §15.3.7: several ranges may become one, if they are adjacent or only one is satisfiable.
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
        // The server accepts a list that the edge ignores, such as one of many ranges.
        (RangeRequest::Whole, _) => request.fields.contains_key(header::RANGE),
        _ => false,
    }
}
