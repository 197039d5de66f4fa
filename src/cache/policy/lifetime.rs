//! The freshness lifetime: the origin's directives, within the policy's bounds.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    base::clock::Timestamp,
    http::{cache_control::CacheControl, date},
};

/// A cache policy's bounds, `min ≤ default ≤ max`
/// (Amazon CloudFront Developer Guide, "Manage how long content stays in the cache").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// Stored at least this long, regardless of the origin.
    pub min: Duration,
    /// Used when the origin gives no lifetime.
    pub default: Duration,
    /// Stored at most this long, regardless of the origin.
    pub max: Duration,
}

impl Ttl {
    /// Whether the policy turns caching off altogether (as `CachingDisabled` does).
    #[must_use]
    pub const fn is_disabled(&self) -> bool {
        self.max.is_zero()
    }

    /// How long a response stays fresh at the edge, before its initial age is subtracted. `heuristic` is
    /// the lifetime to use if the origin gives none.
    #[must_use]
    pub fn lifetime(
        &self,
        cache_control: &CacheControl,
        explicit: Option<Duration>,
        heuristic: Option<Duration>,
    ) -> Duration {
        // no-cache, no-store or private: the minimum TTL, which may be zero.
        if cache_control.no_cache || cache_control.no_store || cache_control.private {
            return self.min;
        }
        match explicit.or(heuristic) {
            Some(lifetime) => lifetime.clamp(self.min, self.max),
            None => self.default.max(self.min),
        }
    }
}

/// The caching directives of a response: its targeted field, or `Cache-Control` and `Expires`.
pub(super) struct ResponseDirectives {
    pub(super) directives: CacheControl,
    /// RFC 9213 §2.1: next to a targeted field, `Expires` is ignored.
    targeted: bool,
}

impl ResponseDirectives {
    /// Reads the first valid field of `targets` (RFC 9213 §2.2), else `Cache-Control` and `Expires`.
    pub(super) fn read(fields: &HeaderMap, targets: &[HeaderName]) -> Self {
        let lines = |name: &HeaderName| {
            let lines = fields.get_all(name).into_iter();
            lines.map(HeaderValue::as_bytes).collect::<Vec<_>>()
        };
        let targeted = |name| {
            let lines = lines(name);
            (!lines.is_empty()).then(|| CacheControl::parse_targeted(lines)).flatten()
        };
        match targets.iter().find_map(targeted) {
            Some(directives) => Self { directives, targeted: true },
            None => {
                let directives = CacheControl::parse(lines(&header::CACHE_CONTROL));
                Self { directives, targeted: false }
            }
        }
    }

    /// RFC 9111 §4.2.1: `s-maxage`, else `max-age`, else `Expires` minus `Date`.
    pub(super) fn lifetime(&self, fields: &HeaderMap, received_at: Timestamp) -> Option<Duration> {
        let directives = &self.directives;
        let max_age = directives.s_maxage.lifetime().or_else(|| directives.max_age.lifetime());
        max_age.or_else(|| expires(fields, received_at).filter(|_| !self.targeted))
    }
}

fn expires(fields: &HeaderMap, received_at: Timestamp) -> Option<Duration> {
    let mut values = fields.get_all(header::EXPIRES).iter();
    let expires = values.next()?;
    // RFC 9111 §5.3: an invalid date means "already expired"; §4.2.1: two of them are invalid.
    match date::parse(expires.as_bytes()).filter(|_| values.next().is_none()) {
        Some(expires) => Some(expires.since(date_of(fields).unwrap_or(received_at))),
        None => Some(Duration::ZERO),
    }
}

fn date_of(fields: &HeaderMap) -> Option<Timestamp> {
    fields.get(header::DATE).and_then(|value| date::parse(value.as_bytes()))
}

/// RFC 9111 §4.2.2: a tenth of the time since the last modification, as the RFC suggests.
pub(super) fn heuristic(fields: &HeaderMap, received_at: Timestamp) -> Option<Duration> {
    let modified = fields.get(header::LAST_MODIFIED)?;
    let modified = date::parse(modified.as_bytes())?;
    Some(date_of(fields).unwrap_or(received_at).since(modified) / 10)
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
        let read = ResponseDirectives::read(&map, &[HeaderName::from_static("cdn-cache-control")]);
        ttl.lifetime(&read.directives, read.lifetime(&map, NOW), None).as_secs()
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
            // a targeted field replaces all the others, an invalid one is ignored
            (origin, &[(cc, "max-age=9"), ("cdn-cache-control", "max-age=7")], 7),
            (origin, &[(cc, "max-age=9"), ("cdn-cache-control", "max-age=\"7")], 9),
            (
                ttl(0, 300, 900),
                &[("expires", "Sun, 06 Nov 1994 08:49:47 GMT"), ("cdn-cache-control", "public")],
                300,
            ),
        ] {
            assert_eq!(lifetime(bounds, fields), expected, "{bounds:?} {fields:?}");
        }
    }

    /// An invariant for all bounds, besides the examples above.
    #[test]
    fn lifetimes_stay_within_their_bounds() {
        let values = [0, 1, 60, 600, 86_400, YEAR];
        let cc = "cache-control";
        for min in values {
            for default in values.into_iter().filter(|default| *default >= min) {
                for max in values.into_iter().filter(|max| *max >= default) {
                    let bounds = ttl(min, default, max);
                    let of = |line: &str| lifetime(bounds, &[(cc, line)]);
                    let mut shorter = 0;
                    for seconds in [0, 1, 30, 600, 100_000, 4_000_000_000] {
                        let found = of(&format!("max-age={seconds}"));
                        assert!((min..=max).contains(&found), "{bounds:?} {seconds}: {found}");
                        assert!(found >= shorter, "a longer max-age is no shorter");
                        assert!(!(min..=max).contains(&seconds) || found == seconds);
                        assert_eq!(of(&format!("max-age=5, s-maxage={seconds}")), found);
                        for flag in ["no-cache", "no-store", "private"] {
                            assert_eq!(of(&format!("{flag}, max-age={seconds}")), min, "{flag}");
                        }
                        shorter = found;
                    }
                    assert_eq!(lifetime(bounds, &[]), default);
                    assert_eq!(lifetime(bounds, &[("expires", "0")]), of("max-age=0"));
                }
            }
        }
    }
}
