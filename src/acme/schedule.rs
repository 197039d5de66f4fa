//! When certificates are renewed, and when a failed attempt is repeated.

use std::time::Duration;

use crate::{base::clock::Timestamp, tls::Lifetime};

/// The first wait after a failure, and the longest. Let's Encrypt allows five failed validations of a host in an hour
/// ("Rate Limits"), and its errors rarely go away within minutes.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const LONGEST_WAIT: Duration = Duration::from_hours(6);

/// The shortest wait after several failures, however little time is left.
const SHORTEST_LATE_WAIT: Duration = Duration::from_mins(15);

/// Each wait is so many times the one before.
const FACTOR: u32 = 4;

/// The interval at which the authority's window is read (RFC 9773 §4.3.2), and the bounds for what it suggests instead.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_hours(6);
const SHORTEST_CHECK: Duration = Duration::from_mins(10);
const LONGEST_CHECK: Duration = Duration::from_hours(24);

/// When to renew a certificate. The authority's `window` decides (RFC 9773 §4.2), at the part of it that `spread`
/// selects, from 0 to 999, but a tenth of the lifetime is always left. Without a window, a third is left.
pub(super) fn renewal(
    lifetime: Lifetime,
    window: Option<(Timestamp, Timestamp)>,
    spread: u32,
) -> Timestamp {
    let length = lifetime.end.since(lifetime.begin);
    match window {
        Some((start, end)) => {
            (start + end.since(start) * spread / 1000).min(lifetime.begin + length / 10 * 9)
        }
        None => lifetime.begin + length / 3 * 2,
    }
}

/// The wait after so many failures in a row. `left` is the rest of the old certificate's lifetime: before it ends, the
/// waits get shorter again.
pub(super) fn retry(failures: u32, left: Option<Duration>) -> Duration {
    let factor = FACTOR.saturating_pow(failures.saturating_sub(1));
    let longest = left.filter(|left| !left.is_zero()).map_or(LONGEST_WAIT, |left| left / 4);
    FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT).min(longest.max(SHORTEST_LATE_WAIT))
}

/// How long a new certificate is used at least, if its lifetime is `left`. An authority that wants it to be renewed at
/// once, again and again, gets no flood of orders.
pub(super) fn shortest_use(left: Duration) -> Duration {
    CHECK_INTERVAL.min(left / 2)
}

/// When to read the authority's window again, if it suggests `after`.
pub(super) fn check_again(after: Duration) -> Duration {
    after.clamp(SHORTEST_CHECK, LONGEST_CHECK)
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
        // A window after the end of the lifetime does not let the certificate expire.
        let late = Some((begin + DAY * 100, begin + DAY * 101));
        assert_eq!(renewal(lifetime, late, 500), begin + DAY * 81);
        // A window that ends before it starts means its start.
        assert_eq!(renewal(lifetime, Some((begin + DAY, begin)), 500), begin + DAY);
    }

    #[test]
    fn failures_are_repeated_less_and_less_often() {
        let minutes = |failures| retry(failures, None).as_secs() / 60;
        assert_eq!([1, 2, 3, 4, 5, 6, 40].map(minutes), [1, 4, 16, 64, 256, 360, 360]);
        // Before a certificate expires, there are several attempts.
        let minutes = |left| retry(40, Some(Duration::from_mins(left))).as_secs() / 60;
        assert_eq!([0, 5, 60, 480, 6_000].map(minutes), [360, 15, 15, 120, 360]);
    }

    #[test]
    fn an_authority_cannot_stop_the_checks_or_make_them_a_flood() {
        assert_eq!(check_again(Duration::ZERO), SHORTEST_CHECK);
        assert_eq!(check_again(DAY * 365), LONGEST_CHECK);
    }
}
