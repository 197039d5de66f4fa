//! Whether a stored response may answer a request (RFC 9111 §4).

use super::Freshness;
use crate::{clock::Timestamp, semantics::cache_status::ForwardReason};

/// What to do with what the store found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh,
    /// Ask the origin whether it still holds (RFC 9111 §4.3).
    Validate,
    /// Forward the request.
    Forward(ForwardReason),
}

/// Decides about a stored response, if there is one.
///
/// The viewer's own `Cache-Control` and `Pragma` do not count, as with CloudFront: a viewer must
/// not be able to send every request on to the bucket.
#[must_use]
pub fn reuse(stored: Option<&Freshness>, now: Timestamp) -> Reuse {
    match stored {
        None => Reuse::Forward(ForwardReason::UriMiss),
        // RFC 9111 §4.2: fresh while its age has not exceeded its freshness lifetime.
        Some(freshness) if freshness.is_fresh(now) => Reuse::Fresh,
        Some(_) => Reuse::Validate,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fresh_until_the_lifetime_ends() {
        let received_at = Timestamp::from_secs(100);
        let fresh_until = Timestamp::from_secs(110);
        let freshness = Freshness { received_at, initial_age: Duration::from_secs(3), fresh_until };
        for (now, expected, ttl, age) in [
            (100_000, Reuse::Fresh, 10, 3),
            (109_999, Reuse::Fresh, 0, 12),
            (110_000, Reuse::Validate, 0, 13),
            (112_500, Reuse::Validate, -3, 15),
            // the clock was set back: what it says about the future cannot be trusted
            (90_000, Reuse::Validate, 20, 3),
        ] {
            let now = Timestamp::from_millis(now);
            assert_eq!(reuse(Some(&freshness), now), expected, "{now:?}");
            assert_eq!(freshness.ttl_seconds(now), ttl, "{now:?}");
            assert_eq!(freshness.age(now).as_secs(), age, "{now:?}");
        }
        assert_eq!(reuse(None, received_at), Reuse::Forward(ForwardReason::UriMiss));
    }
}
