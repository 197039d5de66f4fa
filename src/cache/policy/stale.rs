//! How a stale response may be served (RFC 9111 §4.2.4, RFC 5861, and CloudFront's rules).

use std::time::Duration;

use super::CachingRules;
use crate::{
    base::clock::Timestamp,
    http::cache_control::{CacheControl, Delta},
};

/// How long past its freshness a response may be served, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// While it is being validated.
    pub while_revalidate: u32,
    /// If the origin is unreachable or responds with a server error.
    pub if_error: u32,
    /// After an origin error, the next fetch waits until then.
    pub retry_at: Timestamp,
}

impl Stale {
    /// Unlimited, as far as 32 bits reach.
    const UNLIMITED: u32 = u32::MAX;

    /// The stale use that a response with these directives and this lifetime allows.
    ///
    /// `must-revalidate` and `proxy-revalidate` forbid it (RFC 9111 §4.2.4), and so does `no-cache` unless the minimum
    /// TTL overrides it. `s-maxage` forbids it, too, unless a stale directive says otherwise: CloudFront lets the
    /// explicit directive win, a deliberate deviation from RFC 9111. Amazon CloudFront Developer Guide, "Serve stale
    /// content": both directives are capped by the maximum TTL; without `stale-if-error`, a failing origin leaves the
    /// last copy in use.
    #[must_use]
    pub fn allowed(directives: &CacheControl, lifetime: Duration, caching: &CachingRules) -> Self {
        let no_cache = directives.no_cache && !caching.min_ttl_overrides();
        if directives.must_revalidate || directives.proxy_revalidate || no_cache {
            return Self::default();
        }
        let shared = directives.s_maxage != Delta::Absent;
        let left = caching.ttl.max.saturating_sub(lifetime);
        let seconds = |delta: Delta| {
            let window = delta.lifetime().map(|window| window.min(left).as_secs());
            window.map(|seconds| u32::try_from(seconds).unwrap_or(Self::UNLIMITED))
        };
        Self {
            while_revalidate: seconds(directives.stale_while_revalidate).unwrap_or(0),
            if_error: seconds(directives.stale_if_error).unwrap_or(if shared {
                0
            } else {
                Self::UNLIMITED
            }),
            retry_at: Timestamp::default(),
        }
    }

    pub(super) fn while_revalidate(self, fresh_until: Timestamp, now: Timestamp) -> bool {
        now < fresh_until + Duration::from_secs(self.while_revalidate.into())
    }

    pub(super) fn if_error(self, fresh_until: Timestamp, now: Timestamp) -> bool {
        self.if_error == Self::UNLIMITED
            || now < fresh_until + Duration::from_secs(self.if_error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::policy::{HonorPrivate, Ttl};

    #[test]
    fn what_directives_allow() {
        let rules = |min, honor_private| CachingRules {
            honor_private,
            ..CachingRules::new(Ttl {
                min: Duration::from_secs(min),
                default: Duration::ZERO,
                max: Duration::from_secs(1000),
            })
        };
        let strict = rules(1, HonorPrivate::Strict);
        let cloudfront = rules(1, HonorPrivate::CloudFront);
        let without_min = rules(0, HonorPrivate::CloudFront);
        let forever = u32::MAX;
        for (line, rules, expected) in [
            ("max-age=60", &strict, (0, forever)),
            ("max-age=60, stale-while-revalidate=30", &strict, (30, forever)),
            ("max-age=60, stale-while-revalidate=3000", &strict, (940, forever)),
            ("max-age=60, stale-if-error=30", &strict, (0, 30)),
            ("max-age=60, stale-if-error=3000", &strict, (0, 940)),
            ("max-age=60, stale-if-error=0", &strict, (0, 0)),
            ("max-age=60, stale-if-error=30, must-revalidate", &strict, (0, 0)),
            ("max-age=60, stale-if-error=30, proxy-revalidate", &strict, (0, 0)),
            ("s-maxage=60", &strict, (0, 0)),
            ("s-maxage=60, stale-if-error=30", &strict, (0, 30)),
            ("s-maxage=60, stale-while-revalidate=30", &strict, (30, 0)),
            ("s-maxage=60, stale-if-error=30, must-revalidate", &strict, (0, 0)),
            ("no-cache, stale-while-revalidate=30", &strict, (0, 0)),
            ("no-cache", &cloudfront, (0, forever)),
            ("no-cache, stale-if-error=0", &cloudfront, (0, 0)),
            ("no-cache, must-revalidate", &cloudfront, (0, 0)),
            ("no-cache", &without_min, (0, 0)),
        ] {
            let directives = CacheControl::parse([line.as_bytes()]);
            let stale = Stale::allowed(&directives, Duration::from_secs(60), rules);
            assert_eq!((stale.while_revalidate, stale.if_error), expected, "{line}");
        }
    }
}
