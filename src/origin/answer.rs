//! An origin's response: filtered fields, parsed errors.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header, response::Parts};
use http_body_util::BodyExt;

use super::{OriginRequest, Tunnel, object_parameters::signed_query};
use crate::{
    base::clock::Timestamp,
    cache::store::{CacheTags, Tag},
    http::{
        body::Body,
        field_table::FieldTrait,
        field_table::ResponseField,
        fields::{connection_names, remove_all},
    },
    outbound::{
        error::Error,
        s3_error::{S3Class, S3Error},
        timing::Timing,
    },
};

/// The most bytes read of an error's body.
const MAX_ERROR_BODY: usize = 64 << 10;

/// The response of an origin.
#[derive(Debug)]
pub struct OriginResponse {
    /// Status code.
    pub status: StatusCode,
    /// Fields that may be stored and shown to viewers.
    pub fields: HeaderMap,
    /// `Content-Range`, which belongs to this response alone.
    pub content_range: Option<Bytes>,
    /// Length that the response to a HEAD announces; for a GET it is in the body.
    pub announced_length: Option<u64>,
    /// The content; empty if S3 sent an error, whose text is not passed on.
    pub body: Body,
    /// When the request was sent.
    pub requested_at: Timestamp,
    /// When the head arrived.
    pub received_at: Timestamp,
    /// The times of the exchange.
    pub timing: Timing,
    /// Whether an S3 bucket sent the response.
    pub bucket: bool,
    /// The response's cache tags.
    pub tags: CacheTags,
    /// The connection, if the response has changed its protocol.
    pub(crate) tunnel: Option<Box<Tunnel>>,
    /// Set if another node of the cluster sent it instead of the origin.
    pub peer: Option<FromPeer>,
}

/// What another node says about a response that it sends instead of the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromPeer {
    /// Whether it was in its cache.
    pub is_hit: bool,
    /// How long it stays fresh there, if it is stored.
    pub fresh_for: Option<Duration>,
}

/// Facts that the origin adds to its response.
pub(super) struct Facts {
    pub(super) bucket: bool,
    pub(super) tags: CacheTags,
}

/// When an exchange with an origin began, and when its head arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) requested_at: Timestamp,
    pub(super) received_at: Timestamp,
    pub(super) timing: Timing,
}

impl OriginResponse {
    /// A response with these parts and the fields that `shown` keeps.
    pub(super) fn new(
        Parts { status, headers, .. }: Parts,
        shown: impl FnOnce(HeaderMap) -> HeaderMap,
        body: Body,
        times: Times,
        Facts { bucket, tags }: Facts,
    ) -> Self {
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let range = headers.get(header::CONTENT_RANGE).cloned();
        let fields = shown(headers);
        let range = range.filter(|_| !fields.contains_key(header::CONTENT_RANGE));
        Self {
            status,
            fields,
            content_range: range.map(|value| Bytes::copy_from_slice(value.as_bytes())),
            announced_length: length,
            body,
            requested_at: times.requested_at,
            received_at: times.received_at,
            timing: times.timing,
            bucket,
            tags,
            tunnel: None,
            peer: None,
        }
    }

    /// The response of a peer, whose origin has filtered it.
    pub(crate) fn of_peer(
        parts: Parts,
        body: Body,
        (requested_at, received_at, timing): (Timestamp, Timestamp, Timing),
        (bucket, tags): (bool, CacheTags),
        peer: FromPeer,
    ) -> Self {
        let status = parts.status;
        let shown = |fields| plain_fields(status, fields);
        let times = Times { requested_at, received_at, timing };
        let answer = Self::new(parts, shown, body, times, Facts { bucket, tags });
        Self { peer: Some(peer), ..answer }
    }
}

/// The tags in a field, without those beyond CloudFront's limit
/// (Amazon CloudFront Developer Guide, "Invalidate by cache tag").
pub(super) fn cache_tags(fields: &HeaderMap, name: &HeaderName) -> CacheTags {
    const MOST: usize = 50;
    let lines = fields.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(str::trim);
    names.filter(|name| Tag::is_name(name)).take(MOST).map(Tag::new).collect()
}

/// The fields of a plain origin: all except hop-by-hop ones and those of this message alone.
pub(super) fn plain_fields(status: StatusCode, mut fields: HeaderMap) -> HeaderMap {
    let named = connection_names(&fields);
    // RFC 9110 §14.4: `Content-Range` has no meaning with other statuses, so it is kept like any other field.
    let ranged = matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE);
    remove_all(&mut fields, |name| {
        let is_kept =
            matches!(ResponseField::of(name), ResponseField::PassedOn | ResponseField::Cookie);
        !is_kept || named.contains(name) || (ranged && *name == header::CONTENT_RANGE)
    });
    fields
}

/// The fields of an S3 object: an allow-list, so that no details of bucket, keys or requests
/// reach a viewer.
pub(super) fn s3_fields(mut fields: HeaderMap) -> HeaderMap {
    remove_all(&mut fields, |name| !FieldTrait::FromS3.applies_to(name.as_str()));
    drop_aws_chunked(&mut fields);
    fields
}

/// Removes `aws-chunked`, a transfer coding that some uploaders store as a content coding.
pub(super) fn drop_aws_chunked(fields: &mut HeaderMap) {
    let Some(value) = fields.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok())
    else {
        return;
    };
    let rest: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    match http::HeaderValue::try_from(rest.join(", ")) {
        Ok(value) if !value.is_empty() => fields.insert(header::CONTENT_ENCODING, value),
        _ => fields.remove(header::CONTENT_ENCODING),
    };
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3); S3 servers send no dates in it.
fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    let seconds = fields.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Parses S3's error document. Returns an error unless it is a response about the object.
pub(super) async fn read_s3_error(
    request: &OriginRequest<'_>,
    parts: &Parts,
    body: Body,
) -> Result<S3Class, Error> {
    let limited = http_body_util::Limited::new(body, MAX_ERROR_BODY);
    // An unreadable document is an error without a code.
    let xml = limited.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let error = S3Error::parse(&xml);
    let class = S3Class::of(parts.status, &error.code);
    // The viewer's request caused this, for example by an invalid version id.
    let is_bad_parameter = error.code == "InvalidArgument"
        && request.projection.query.as_deref().is_some_and(|query| !signed_query(query).is_empty());
    if class.is_about_the_object() || is_bad_parameter {
        return Ok(class);
    }
    let named = parts.headers.get("x-amz-bucket-region").and_then(|v| v.to_str().ok());
    Err(Error::S3 {
        class,
        status: parts.status,
        code: if error.code.is_empty() { "without a code".into() } else { error.code },
        region: named.map(str::to_owned).or(error.region),
        retry_after: retry_after(&parts.headers),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_connection_and_of_the_origins_own_are_removed() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("via", "1.1 origin"),
            ("x-cache", "Hit from origin"),
            ("alt-svc", "h3=\":443\""),
            ("etag", "\"a\""),
        ] {
            fields.append(name, value.parse().expect("value"));
        }
        let fields = plain_fields(StatusCode::OK, fields);
        assert_eq!(fields.keys().collect::<Vec<_>>(), [&header::ETAG]);
    }

    #[test]
    fn nothing_of_s3_leaks() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("x-amz-request-id", "1"),
            ("x-amz-id-2", "2"),
            ("x-amz-meta-uploader", "alice"),
            ("server", "AmazonS3"),
            ("content-type", "image/png"),
            ("content-encoding", "aws-chunked, gzip"),
            ("etag", "\"a\""),
        ] {
            fields.append(name, value.parse().expect("value"));
        }
        let mut shown: Vec<_> = s3_fields(fields)
            .iter()
            .map(|(n, v)| format!("{n}: {}", v.to_str().expect("text")))
            .collect();
        shown.sort();
        assert_eq!(shown, ["content-encoding: gzip", "content-type: image/png", "etag: \"a\""]);
    }
}
