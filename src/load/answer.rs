//! The parts of a response that a load test records.

use http::{HeaderMap, StatusCode, header};

use super::request_kind::RequestKind;

/// A response, read to its end.
pub(super) struct LoadResponse {
    pub(super) kind: RequestKind,
    pub(super) status: StatusCode,
    /// Content bytes that are not counted yet.
    pub(super) bytes: u64,
    /// Whether it is a cache hit, if the response says so.
    pub(super) hit: Option<bool>,
}

/// Whether the nearest cache had a hit. Reads the last member of `Cache-Status`, which is the nearest cache's
/// (RFC 9211 §2), else the last member of `X-Cache`, as CloudFront, Varnish, Squid and others write it.
pub(super) fn is_hit(fields: &HeaderMap) -> Option<bool> {
    if let Some(line) = fields.get_all("cache-status").iter().next_back() {
        let nearest = line.as_bytes().rsplit(|byte| *byte == b',').next()?;
        let mut parameters = nearest.split(|byte| *byte == b';').skip(1);
        return Some(parameters.any(|parameter| parameter.trim_ascii() == b"hit"));
    }
    let lines = |name| fields.get_all(name).iter().next_back();
    let line = lines("x-cache").or_else(|| lines("x-cache-status"))?.as_bytes();
    let nearest = line.rsplit(|byte| *byte == b',').next()?.trim_ascii_start();
    let word = nearest.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').next()?;
    let hits = ["hit", "TCP_HIT", "TCP_MEM_HIT", "TCP_IMS_HIT"];
    let is_hit = hits.iter().any(|hit| word.eq_ignore_ascii_case(hit.as_bytes()));
    (!word.is_empty()).then_some(is_hit)
}

/// Facts about a target that later requests for it may use.
pub(super) struct Known {
    /// Bytes of the whole representation, if known.
    pub(super) length: Option<u64>,
    pub(super) etag: Option<http::HeaderValue>,
}

impl Known {
    pub(super) fn of(status: StatusCode, fields: &HeaderMap) -> Option<Self> {
        let length = fields
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let etag = fields.get(header::ETAG).cloned();
        (status == StatusCode::OK).then_some(Self { length, etag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_cache_is_asked() {
        for (fields, expected) in [
            (&[("cache-status", "Forebay; hit; ttl=5")][..], Some(true)),
            (&[("cache-status", "Forebay; fwd=uri-miss; stored")], Some(false)),
            (&[("cache-status", "Origin; fwd=miss, Forebay;hit")], Some(true)),
            (&[("cache-status", "Far; hit"), ("cache-status", "Near; fwd=stale")], Some(false)),
            (&[("cache-status", "Near; fwd=miss"), ("x-cache", "HIT")], Some(false)),
            (&[("x-cache", "Hit from cloudfront")], Some(true)),
            (&[("x-cache", "RefreshHit from cloudfront")], Some(false)),
            (&[("x-cache-status", "MISS")], Some(false)),
            (&[("x-cache", "MISS, HIT")], Some(true)),
            (&[("x-cache", "HIT"), ("x-cache", "MISS")], Some(false)),
            (&[("x-cache", "TCP_MEM_HIT from a.example")], Some(true)),
            (&[("x-cache", "TCP_MISS from a.example")], Some(false)),
            (&[("x-cache", "")], None),
            (&[], None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(*name, value.parse().expect("value"));
            }
            assert_eq!(is_hit(&map), expected, "{fields:?}");
        }
    }
}
