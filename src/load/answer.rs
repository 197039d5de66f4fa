//! The parts of a response that a load test records.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::request_kind::RequestKind;

/// A response, read to its end.
pub(super) struct LoadResponse {
    pub(super) kind: RequestKind,
    pub(super) status: StatusCode,
    /// Content bytes that are not counted yet.
    pub(super) bytes: u64,
    /// The cache's result, if the response reports one.
    pub(super) cache: Option<CacheResult>,
    /// The Location of a redirect.
    pub(super) location: Option<HeaderValue>,
}

/// The result that the nearest cache reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheResult {
    /// From the cache.
    Hit,
    /// From a fetch that another request began (RFC 9211, section 2.5).
    Collapsed,
    /// From the origin.
    Miss,
}

/// Reads the last member of `Cache-Status`, which is the nearest cache's (RFC 9211 §2), else the last member of
/// `X-Cache`, as CloudFront, Varnish, Squid and others write it.
pub(super) fn cache_result(fields: &HeaderMap) -> Option<CacheResult> {
    if let Some(line) = fields.get_all("cache-status").iter().next_back() {
        let nearest = line.as_bytes().rsplit(|byte| *byte == b',').next()?;
        let mut parameters = nearest.split(|byte| *byte == b';').skip(1).map(<[u8]>::trim_ascii);
        let has = |name: &[u8]| parameters.clone().any(|parameter| parameter == name);
        return Some(match (has(b"collapsed"), parameters.any(|parameter| parameter == b"hit")) {
            (true, _) => CacheResult::Collapsed,
            (false, true) => CacheResult::Hit,
            (false, false) => CacheResult::Miss,
        });
    }
    let lines = |name| fields.get_all(name).iter().next_back();
    let line = lines("x-cache").or_else(|| lines("x-cache-status"))?.as_bytes();
    let nearest = line.rsplit(|byte| *byte == b',').next()?.trim_ascii_start();
    let word = nearest.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').next()?;
    let hits = ["hit", "TCP_HIT", "TCP_MEM_HIT", "TCP_IMS_HIT"];
    let is_hit = hits.iter().any(|hit| word.eq_ignore_ascii_case(hit.as_bytes()));
    let result = if is_hit { CacheResult::Hit } else { CacheResult::Miss };
    (!word.is_empty()).then_some(result)
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
    fn the_nearest_cache_counts() {
        for (fields, expected) in [
            (&[("cache-status", "Forebay; hit; ttl=5")][..], Some(CacheResult::Hit)),
            (&[("cache-status", "Forebay; fwd=uri-miss; stored")], Some(CacheResult::Miss)),
            (&[("cache-status", "Forebay; fwd=uri-miss; collapsed")], Some(CacheResult::Collapsed)),
            (&[("cache-status", "Origin; fwd=miss, Forebay;hit")], Some(CacheResult::Hit)),
            (
                &[("cache-status", "Far; hit"), ("cache-status", "Near; fwd=stale")],
                Some(CacheResult::Miss),
            ),
            (&[("cache-status", "Near; fwd=miss"), ("x-cache", "HIT")], Some(CacheResult::Miss)),
            (&[("x-cache", "Hit from cloudfront")], Some(CacheResult::Hit)),
            (&[("x-cache", "RefreshHit from cloudfront")], Some(CacheResult::Miss)),
            (&[("x-cache-status", "MISS")], Some(CacheResult::Miss)),
            (&[("x-cache", "MISS, HIT")], Some(CacheResult::Hit)),
            (&[("x-cache", "HIT"), ("x-cache", "MISS")], Some(CacheResult::Miss)),
            (&[("x-cache", "TCP_MEM_HIT from a.example")], Some(CacheResult::Hit)),
            (&[("x-cache", "TCP_MISS from a.example")], Some(CacheResult::Miss)),
            (&[("x-cache", "")], None),
            (&[], None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(*name, value.parse().expect("value"));
            }
            assert_eq!(cache_result(&map), expected, "{fields:?}");
        }
    }
}
