//! Whether a stored response may satisfy a request (RFC 9111 §4).

use std::time::Duration;

use super::Freshness;
use crate::{base::clock::Timestamp, http::cache_status::ForwardReason};

/// The use of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh,
    /// Serve it though it is stale: the origin failed a moment ago, or the request's `max-stale` allows it.
    Stale,
    /// Serve it though it is stale, and validate it meanwhile (RFC 5861 §3).
    Refresh,
    /// Validate it with the origin (RFC 9111 §4.3).
    Validate,
    /// Forward the request.
    Forward(ForwardReason),
}

/// Decides how to use a stored response, if there is one.
///
/// The viewer's `Cache-Control` and `Pragma` do not count, as with CloudFront: a viewer must not be
/// able to force every request through to the bucket.
#[must_use]
pub fn reuse(stored: Option<&Freshness>, now: Timestamp) -> Reuse {
    let Some(freshness) = stored else { return Reuse::Forward(ForwardReason::UriMiss) };
    // RFC 9111 §4.2: fresh while its age has not exceeded its freshness lifetime.
    if freshness.is_fresh(now) {
        return Reuse::Fresh;
    }
    // If the clock was set back, the staleness is unknown.
    let reliable = !freshness.is_of_future(now);
    let (stale, fresh_until) = (freshness.stale, freshness.fresh_until);
    match () {
        () if reliable && now < stale.retry_at && freshness.serves_errors(now) => Reuse::Stale,
        () if reliable && stale.while_revalidate(fresh_until, now) => Reuse::Refresh,
        () => Reuse::Validate,
    }
}

impl Freshness {
    /// Whether the response may be served, for `window` past its freshness, if the origin reports that the
    /// object is gone. Never if stale responses are forbidden.
    #[must_use]
    pub fn serves_missing(&self, window: Duration, now: Timestamp) -> bool {
        !window.is_zero() && self.stale.if_error > 0 && now < self.fresh_until + window
    }

    /// Whether the response may be served if the origin fails (RFC 5861 §4).
    #[must_use]
    pub fn serves_errors(&self, now: Timestamp) -> bool {
        self.stale.if_error(self.fresh_until, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::policy::Stale;

    fn freshness(stale: Stale) -> Freshness {
        let received_at = Timestamp::from_secs(100);
        let fresh_until = Timestamp::from_secs(110);
        Freshness { received_at, initial_age: 3000, fresh_until, stale }
    }

    #[test]
    fn fresh_until_the_lifetime_ends() {
        let freshness = freshness(Stale::default());
        for (now, expected, ttl, age) in [
            (100_000, Reuse::Fresh, 10, 3),
            (109_999, Reuse::Fresh, 0, 12),
            (110_000, Reuse::Validate, 0, 13),
            (112_500, Reuse::Validate, -3, 15),
            // the clock was set back: times in the future cannot be trusted
            (90_000, Reuse::Validate, 20, 3),
        ] {
            let now = Timestamp::from_millis(now);
            assert_eq!(reuse(Some(&freshness), now), expected, "{now:?}");
            assert_eq!(freshness.ttl_seconds(now), ttl, "{now:?}");
            assert_eq!(freshness.age(now).as_secs(), age, "{now:?}");
        }
        let nothing = reuse(None, Timestamp::from_secs(100));
        assert_eq!(nothing, Reuse::Forward(ForwardReason::UriMiss));
    }

    #[test]
    fn a_missing_object_leaves_its_copy_for_a_while() {
        let window = Duration::from_secs(60);
        for (if_error, window, now, expected) in [
            (u32::MAX, window, 169, true),
            (u32::MAX, window, 170, false),
            (u32::MAX, Duration::ZERO, 111, false),
            (0, window, 111, false),
        ] {
            let freshness = freshness(Stale { if_error, ..Stale::default() });
            let now = Timestamp::from_secs(now);
            assert_eq!(freshness.serves_missing(window, now), expected, "{if_error} {now:?}");
        }
    }

    #[test]
    fn stale_responses_are_served_within_their_windows() {
        let stale = |while_revalidate, if_error, retry_at| Stale {
            while_revalidate,
            if_error,
            retry_at: Timestamp::from_secs(retry_at),
        };
        for (stale, now, expected, serves_errors) in [
            (stale(5, 0, 0), 114, Reuse::Refresh, false),
            (stale(5, 0, 0), 115, Reuse::Validate, false),
            (stale(0, 5, 0), 114, Reuse::Validate, true),
            (stale(0, 5, 0), 115, Reuse::Validate, false),
            (stale(0, u32::MAX, 0), 9_999_999, Reuse::Validate, true),
            (stale(0, 30, 120), 119, Reuse::Stale, true),
            (stale(0, 30, 120), 120, Reuse::Validate, true),
            (stale(0, 5, 120), 119, Reuse::Validate, false),
            (stale(60, 30, 120), 119, Reuse::Stale, true),
            (stale(60, 30, 120), 98, Reuse::Validate, true),
        ] {
            let (freshness, now) = (freshness(stale), Timestamp::from_secs(now));
            assert_eq!(reuse(Some(&freshness), now), expected, "{stale:?} {now:?}");
            assert_eq!(freshness.serves_errors(now), serves_errors, "{stale:?} {now:?}");
        }
    }
}
