//! Retries: few, spread in time, and never more than a share of all requests.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// The most retries that can be saved up, in tenths.
const MAX_SAVED: u32 = 10 * TENTHS;

const TENTHS: u32 = 10;

/// The retry budget of one origin. Each request adds a tenth of a retry, and each second a whole one. Every new attempt
/// to connect, to get a response or to continue one withdraws a whole one. So a failing origin gets at most ten percent
/// more requests than without retries, or one a second.
#[derive(Debug)]
pub(super) struct Budget {
    tenths: AtomicU32,
    /// The last second of the process' uptime that was credited.
    paid: AtomicU64,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self { tenths: AtomicU32::new(MAX_SAVED), paid: AtomicU64::new(0) }
    }

    pub(super) fn pay_in(&self, now: Duration) {
        let seconds =
            now.as_secs().saturating_sub(self.paid.swap(now.as_secs(), Ordering::Relaxed));
        let seconds = u32::try_from(seconds).unwrap_or(MAX_SAVED).min(MAX_SAVED);
        let more = |saved: u32| Some((saved + 1 + seconds * TENTHS).min(MAX_SAVED));
        let _ = self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    pub(super) fn withdraw(&self) -> bool {
        let less = |saved: u32| saved.checked_sub(TENTHS);
        self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// A hash of the values that identify an object, or a part of it.
pub(super) fn hash(object: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    object.hash(&mut hasher);
    hasher.finish()
}

/// The longest pause that a server's `Retry-After` can cause.
pub(super) const LONGEST_REQUESTED_PAUSE: Duration = Duration::from_secs(60);

/// The pause after `pauses` others while an origin throttles: from 0.5 seconds, doubled each time up to 16 seconds. A
/// random part, up to half, is subtracted, so that several edges do not return together.
pub(super) fn throttle_pause(pauses: u32) -> Duration {
    let longest = 500_u64 << pauses.min(5);
    Duration::from_millis(longest - fastrand::u64(0..=longest / 2))
}

/// The wait before attempt `attempt + 1`: exponential, with full jitter.
pub(super) fn pause(attempt: u32) -> Duration {
    let longest = 100_u64 << attempt.min(5);
    Duration::from_millis(fastrand::u64(0..=longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_allows_one_retry_in_ten_requests_and_one_a_second() {
        let budget = Budget::new();
        while budget.withdraw() {}
        for _ in 0..90 {
            budget.pay_in(Duration::ZERO);
        }
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 9);
        budget.pay_in(Duration::from_secs(3));
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 3);
        budget.pay_in(Duration::from_secs(1000));
        assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10);
    }

    #[test]
    fn pauses_are_bounded() {
        assert!((0..100).all(|attempt| pause(attempt) <= Duration::from_millis(3200)));
        let bounds = Duration::from_millis(250)..=Duration::from_secs(16);
        assert!((0..100).all(|pauses| bounds.contains(&throttle_pause(pauses))));
    }
}
