//! The caching rules as pure decisions: RFC 9111 and CloudFront's TTL arithmetic.
//!
//! Nothing here does I/O or reads a clock; `now` is an argument.

mod caching_rules;
mod lifetime;
mod request_directives;
mod reuse;
mod stale;
mod storable;

pub(crate) use caching_rules::{CachingRules, ErrorTtl, HonorPrivate};
pub(crate) use lifetime::Ttl;
pub(crate) use request_directives::RequestDirectives;
pub(crate) use reuse::Reuse;
pub use reuse::reuse;
pub use stale::Stale;
pub(crate) use storable::{NotStored, Storable};
pub use storable::{Received, RequestProperties, storable};

use crate::base::clock::Timestamp;
use std::time::Duration;

/// The longest time from the arrival of a request to its lookup. A response that arrives meanwhile is newer than the
/// request.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// The times of a stored response: when it was received, how old it was then, and until when it is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When the response (or the 304 that renewed it) arrived.
    pub received_at: Timestamp,
    /// RFC 9111 §4.2.3 `corrected_initial_age`, in milliseconds.
    pub initial_age: u64,
    /// The first moment at which it is stale.
    pub fresh_until: Timestamp,
    /// How it may be served after that.
    pub stale: Stale,
}

impl Freshness {
    /// RFC 9111 §4.2.3 `current_age`.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::from_millis(self.initial_age).saturating_add(now.since(self.received_at))
    }

    /// Whether the response may be reused without contacting the origin.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        !self.is_of_future(now) && now < self.fresh_until
    }

    /// Whether the clock was set back since the response arrived. Its age is unknown then, and it must not stay fresh for
    /// longer.
    fn is_of_future(&self, now: Timestamp) -> bool {
        self.received_at > now + ON_ITS_WAY
    }

    /// Makes the response stale at `end` at the latest.
    pub(crate) fn limit(&mut self, end: Timestamp) {
        self.fresh_until = self.fresh_until.min(end);
    }

    /// Whole seconds of freshness left; negative when stale (the `ttl` of RFC 9211).
    #[must_use]
    pub fn ttl_seconds(&self, now: Timestamp) -> i64 {
        let left = i128::from(self.fresh_until.as_millis()) - i128::from(now.as_millis());
        i64::try_from(left.div_euclid(1000)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_may_overtake_a_request_but_not_the_clock() {
        let at = Timestamp::from_millis;
        let freshness = Freshness {
            received_at: at(10_000),
            initial_age: 0,
            fresh_until: at(20_000),
            stale: Stale::default(),
        };
        for (now, is_fresh) in
            [(8_999, false), (9_000, true), (9_999, true), (10_000, true), (20_000, false)]
        {
            assert_eq!(freshness.is_fresh(at(now)), is_fresh, "{now}");
        }
    }
}
