//! When certificates are renewed, and when a failed attempt is repeated.

use std::time::Duration;

use crate::{base::clock::Timestamp, tls::Lifetime};

/// The first wait after a failure, and the longest. Let's Encrypt allows five failed validations of a host in an hour
/// ("Rate Limits"), and its errors rarely go away within minutes.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const LONGEST_WAIT: Duration = Duration::from_hours(6);

/// Each wait is so many times the one before.
const FACTOR: u32 = 4;

/// How often the authority is asked for a better time to renew (RFC 9773 §4.3.2 suggests six hours), and the bounds of
/// what it may say instead.
pub(super) const ASK_AGAIN: Duration = Duration::from_hours(6);
const ASK_SOONEST: Duration = Duration::from_mins(10);
const ASK_LATEST: Duration = Duration::from_hours(24);

/// When to renew a certificate. The authority's `window` decides (RFC 9773 §4.2), at the part of it that `spread`
/// selects, from 0 to 999. Without one, a third of the lifetime is left.
pub(super) fn renewal(
    lifetime: Lifetime,
    window: Option<(Timestamp, Timestamp)>,
    spread: u32,
) -> Timestamp {
    match window {
        Some((start, end)) => start + end.since(start) * spread / 1000,
        None => lifetime.begin + lifetime.end.since(lifetime.begin) / 3 * 2,
    }
}

/// How long to wait after so many failures in a row.
pub(super) fn retry(failures: u32) -> Duration {
    let factor = FACTOR.saturating_pow(failures.saturating_sub(1));
    FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT)
}

/// When to ask for a better time to renew, if the authority says `after`.
pub(super) fn ask_again(after: Duration) -> Duration {
    after.clamp(ASK_SOONEST, ASK_LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_third_of_the_lifetime_is_left_at_renewal() {
        let begin = Timestamp::from_secs(1_800_000_000);
        for (days, renewed_after) in [(90, 60), (45, 30), (6, 4)] {
            let lifetime = Lifetime { begin, end: begin + DAY * days };
            assert_eq!(renewal(lifetime, None, 500), begin + DAY * renewed_after);
        }
    }

    #[test]
    fn the_window_of_the_authority_decides() {
        let begin = Timestamp::from_secs(1_800_000_000);
        let lifetime = Lifetime { begin, end: begin + DAY * 90 };
        let window = Some((begin + DAY, begin + DAY * 3));
        assert_eq!(renewal(lifetime, window, 0), begin + DAY);
        assert_eq!(renewal(lifetime, window, 500), begin + DAY * 2);
        // A window that ends before it starts means its start.
        assert_eq!(renewal(lifetime, Some((begin + DAY, begin)), 500), begin + DAY);
    }

    #[test]
    fn failures_are_repeated_less_and_less_often() {
        let minutes = |failures| retry(failures).as_secs() / 60;
        assert_eq!([1, 2, 3, 4, 5, 6, 40].map(minutes), [1, 4, 16, 64, 256, 360, 360]);
    }

    #[test]
    fn an_authority_cannot_stop_the_questions_or_make_them_a_flood() {
        assert_eq!(ask_again(Duration::ZERO), ASK_SOONEST);
        assert_eq!(ask_again(DAY * 365), ASK_LATEST);
    }
}
