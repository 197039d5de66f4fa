//! How a stale response may be served (RFC 9111 §4.2.4, RFC 5861, and CloudFront's rules).

use std::time::Duration;

use super::Ttl;
use crate::{
    base::clock::Timestamp,
    http::cache_control::{CacheControl, Delta},
};

/// For how long past its freshness a response may be served, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// While it is being validated.
    pub while_revalidate: u32,
    /// When the origin cannot be asked or answers with a server error.
    pub if_error: u32,
    /// The origin failed just now: until then it is not asked again.
    pub retry_at: Timestamp,
}

impl Stale {
    /// For ever, as far as 32 bits reach.
    const UNLIMITED: u32 = u32::MAX;

    /// What a response with these directives and this lifetime allows.
    ///
    /// RFC 9111 §4.2.4: never where the origin forbids it. CloudFront Developer Guide, "Serve
    /// stale content": both directives are capped by the maximum TTL; without `stale-if-error`,
    /// a failing origin leaves the last copy in use.
    #[must_use]
    pub fn allowed(told: &CacheControl, lifetime: Duration, ttl: &Ttl) -> Self {
        let forbidden = told.must_revalidate
            || told.proxy_revalidate
            || told.no_cache
            || told.s_maxage != Delta::Absent;
        if forbidden {
            return Self::default();
        }
        let left = ttl.max.saturating_sub(lifetime);
        let seconds = |delta: Delta| {
            let window = delta.lifetime().map(|window| window.min(left).as_secs());
            window.map(|seconds| u32::try_from(seconds).unwrap_or(Self::UNLIMITED))
        };
        Self {
            while_revalidate: seconds(told.stale_while_revalidate).unwrap_or(0),
            if_error: seconds(told.stale_if_error).unwrap_or(Self::UNLIMITED),
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

    #[test]
    fn what_directives_allow() {
        let ttl = |max| Ttl {
            min: Duration::ZERO,
            default: Duration::ZERO,
            max: Duration::from_secs(max),
        };
        let forever = u32::MAX;
        for (line, max, expected) in [
            ("max-age=60", 1000, (0, forever)),
            ("max-age=60, stale-while-revalidate=30", 1000, (30, forever)),
            ("max-age=60, stale-while-revalidate=3000", 1000, (940, forever)),
            ("max-age=60, stale-if-error=30", 1000, (0, 30)),
            ("max-age=60, stale-if-error=3000", 1000, (0, 940)),
            ("max-age=60, stale-if-error=0", 1000, (0, 0)),
            ("max-age=60, stale-if-error=30, must-revalidate", 1000, (0, 0)),
            ("max-age=60, stale-if-error=30, proxy-revalidate", 1000, (0, 0)),
            ("max-age=60, stale-if-error=30, s-maxage=60", 1000, (0, 0)),
            ("no-cache, stale-while-revalidate=30", 1000, (0, 0)),
        ] {
            let told = CacheControl::parse([line.as_bytes()]);
            let stale = Stale::allowed(&told, Duration::from_secs(60), &ttl(max));
            assert_eq!((stale.while_revalidate, stale.if_error), expected, "{line}");
        }
    }
}
