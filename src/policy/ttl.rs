//! The freshness lifetime: what the origin says, within the policy's bounds.

use std::time::Duration;

use http::{HeaderMap, header};

use crate::{
    clock::Timestamp,
    semantics::{cache_control::CacheControl, date},
};

/// A cache policy's bounds, `min ≤ default ≤ max`
/// (Amazon CloudFront Developer Guide, "Manage how long content stays in the cache").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// Stored at least this long, whatever the origin says.
    pub min: Duration,
    /// Used when the origin says nothing.
    pub default: Duration,
    /// Stored at most this long, whatever the origin says.
    pub max: Duration,
}

impl Ttl {
    /// Whether the policy turns caching off altogether (as `CachingDisabled` does).
    #[must_use]
    pub const fn is_disabled(&self) -> bool {
        self.max.is_zero()
    }

    /// How long a response stays fresh at the edge, before its initial age is subtracted.
    #[must_use]
    pub fn lifetime(
        &self,
        cache_control: &CacheControl,
        fields: &HeaderMap,
        received_at: Timestamp,
    ) -> Duration {
        // no-cache, no-store or private: the minimum TTL, zero among them.
        if cache_control.no_cache || cache_control.no_store || cache_control.private {
            return self.min;
        }
        match explicit_lifetime(cache_control, fields, received_at) {
            Some(explicit) => explicit.clamp(self.min, self.max),
            None => self.default.max(self.min),
        }
    }
}

/// RFC 9111 §4.2.1: `s-maxage`, else `max-age`, else `Expires` minus `Date`.
pub(super) fn explicit_lifetime(
    cache_control: &CacheControl,
    fields: &HeaderMap,
    received_at: Timestamp,
) -> Option<Duration> {
    if let Some(lifetime) = cache_control.s_maxage.lifetime() {
        return Some(lifetime);
    }
    if let Some(lifetime) = cache_control.max_age.lifetime() {
        return Some(lifetime);
    }
    let expires = fields.get(header::EXPIRES)?;
    // RFC 9111 §5.3: an invalid date means "already expired".
    let Some(expires) = date::parse(expires.as_bytes()) else {
        return Some(Duration::ZERO);
    };
    let date = fields.get(header::DATE).and_then(|value| date::parse(value.as_bytes()));
    Some(expires.since(date.unwrap_or(received_at)))
}

/// Whether `private` and `no-store` hold even against a minimum TTL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HonorPrivate {
    /// A response marked `private` or `no-store` is never shared. The default.
    #[default]
    Strict,
    /// As CloudFront does: a minimum TTL above zero stores it for that long.
    CloudFront,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(784_111_777);
    const YEAR: u64 = 31_536_000;

    fn ttl(min: u64, default: u64, max: u64) -> Ttl {
        let [min, default, max] = [min, default, max].map(Duration::from_secs);
        Ttl { min, default, max }
    }

    fn lifetime(ttl: Ttl, fields: &[(&'static str, &str)]) -> u64 {
        let map: HeaderMap = fields
            .iter()
            .map(|(name, value)| {
                (http::HeaderName::from_static(name), value.parse().expect("value"))
            })
            .collect();
        let cache_control = CacheControl::parse(
            map.get_all("cache-control").iter().map(http::HeaderValue::as_bytes),
        );
        ttl.lifetime(&cache_control, &map, NOW).as_secs()
    }

    #[test]
    fn edge_ttl_follows_cloudfronts_arithmetic() {
        let optimized = ttl(1, 86_400, YEAR);
        let origin = ttl(0, 0, YEAR);
        let cc = "cache-control";
        for (bounds, fields, expected) in [
            (optimized, &[][..], 86_400),
            (optimized, &[(cc, "max-age=0")], 1),
            (origin, &[(cc, "max-age=60, s-maxage=600")], 600),
            (optimized, &[(cc, "max-age=999999999")], YEAR),
            (optimized, &[(cc, "private, max-age=60")], 1),
            (origin, &[(cc, "no-store")], 0),
            (optimized, &[("expires", "Sun, 06 Nov 1994 08:49:30 GMT")], 1),
            (ttl(0, 0, 0), &[], 0),
            (origin, &[], 0),
            (origin, &[(cc, "no-cache, max-age=60")], 0),
            (optimized, &[(cc, "no-cache, max-age=60")], 1),
            (optimized, &[(cc, "max-age=nonsense")], 1),
            (ttl(600, 300, 900), &[], 600),
            (ttl(60, 300, 900), &[(cc, "max-age=5")], 60),
            (ttl(60, 300, 900), &[(cc, "max-age=500")], 500),
            (ttl(60, 300, 900), &[(cc, "max-age=5000")], 900),
            // max-age beats Expires; Expires counts from the response's Date
            (origin, &[(cc, "max-age=9"), ("expires", "Sun, 06 Nov 1994 09:49:37 GMT")], 9),
            (origin, &[("expires", "Sun, 06 Nov 1994 08:49:47 GMT")], 10),
            (
                origin,
                &[
                    ("date", "Sun, 06 Nov 1994 08:49:27 GMT"),
                    ("expires", "Sun, 06 Nov 1994 08:49:47 GMT"),
                ],
                20,
            ),
            (ttl(0, 300, 900), &[("expires", "0")], 0),
        ] {
            assert_eq!(lifetime(bounds, fields), expected, "{bounds:?} {fields:?}");
        }
    }
}
