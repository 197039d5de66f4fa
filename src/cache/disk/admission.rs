//! Which records are written once old ones must give way.
//!
//! About three quarters of a CDN's objects are requested only once. While there is free space, everything is
//! written, because a request to S3 costs money. After that, a record is written when it is offered for the
//! second time, and only within the budget of writes for the device.

use std::collections::HashSet;

use crate::{base::clock::Timestamp, cache::digest::Digest};

/// The digests that are remembered at least.
const MIN_REMEMBERED: usize = 1 << 12;

const DAY: u64 = 86_400_000;

/// Decides which records are written.
#[derive(Debug)]
pub(super) struct Admission {
    /// Digests that were offered lately, in two generations.
    offered: [HashSet<u64>; 2],
    budget: Option<Budget>,
}

/// Bytes that may be written, which become more with time.
#[derive(Debug)]
struct Budget {
    per_day: u64,
    left: u64,
    at: Timestamp,
}

impl Admission {
    /// `budget` is the number of bytes that may be written a day.
    pub(super) fn new(budget: Option<u64>, now: Timestamp) -> Self {
        let budget = budget.map(|per_day| Budget { per_day, left: per_day / 24, at: now });
        Self { offered: Default::default(), budget }
    }

    /// Whether to write a record of `length` bytes, although old records must give way. `current` is the number of
    /// records on disk: as many digests are remembered.
    pub(super) fn admits(
        &mut self,
        digest: Digest,
        length: usize,
        current: u64,
        now: Timestamp,
    ) -> bool {
        if !self.offered.iter().any(|generation| generation.contains(&digest.1)) {
            let limit = usize::try_from(current / 2).unwrap_or(usize::MAX).max(MIN_REMEMBERED);
            if self.offered[0].len() >= limit {
                self.offered.swap(0, 1);
                self.offered[0].clear();
            }
            self.offered[0].insert(digest.1);
            return false;
        }
        self.affords(length, now)
    }

    /// Whether the budget allows writing `length` bytes.
    pub(super) fn affords(&mut self, length: usize, now: Timestamp) -> bool {
        self.budget.as_mut().is_none_or(|budget| budget.spend(length as u64, now))
    }
}

impl Budget {
    /// Takes `bytes` from what may be written now: the budget of an hour can be saved up.
    fn spend(&mut self, bytes: u64, now: Timestamp) -> bool {
        let passed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(DAY).min(DAY);
        let earned = u128::from(self.per_day) * u128::from(passed) / u128::from(DAY);
        if earned > 0 {
            self.at = now;
            let most = self.per_day.div_ceil(24);
            self.left = self.left.saturating_add(u64::try_from(earned).unwrap_or(most)).min(most);
        }
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_second_offer_is_admitted() {
        let mut admission = Admission::new(None, Timestamp::default());
        let mut admits = |n| admission.admits(Digest(0, n), 1, 0, Timestamp::default());
        assert!(!admits(1) && admits(1) && admits(1));
        for n in 2..3 * MIN_REMEMBERED as u64 {
            assert!(!admits(n));
        }
        assert!(!admits(1), "forgotten");
    }

    #[test]
    fn the_budget_is_spread_over_the_day() {
        let start = Timestamp::from_secs(1_000_000);
        let mut admission = Admission::new(Some(24_000), start);
        assert!(!admission.admits(Digest(0, 1), 1, 0, start), "the first offer");
        let mut admits = |length, now| admission.admits(Digest(0, 1), length, 0, now);
        assert!(!admits(1001, start));
        let mut written = 0;
        for minute in 0..24 * 60 {
            while admits(100, start + Duration::from_secs(minute * 60)) {
                written += 100;
            }
        }
        assert!((20_000..=25_000).contains(&written), "{written}");
    }
}
