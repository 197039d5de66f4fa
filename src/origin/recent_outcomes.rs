//! How many requests to an origin failed lately.

use parking_lot::Mutex;
use serde::Serialize;

use crate::base::clock::Timestamp;

/// Seconds that a part of the last minute has, and its parts.
const PART: u64 = 10;
const PARTS: usize = 6;

/// Counts of the last minute.
#[derive(Debug, Default)]
pub(super) struct RecentOutcomes(Mutex<[Part; PARTS]>);

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Its number since 1970.
    number: u64,
    outcomes: Outcomes,
}

/// Requests to an origin, and how many of them failed: with a server error, or without a usable response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Outcomes {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

impl RecentOutcomes {
    pub(super) fn add(&self, is_failure: bool, now: Timestamp) {
        let number = now.as_secs() / PART;
        let mut parts = self.0.lock();
        let place = usize::try_from(number % PARTS as u64).unwrap_or_default();
        let part = &mut parts[place];
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        part.outcomes.requests += 1;
        part.outcomes.failed += u64::from(is_failure);
    }

    /// The sums of the last minute.
    pub(super) fn sums(&self, now: Timestamp) -> Outcomes {
        let number = now.as_secs() / PART;
        let parts = *self.0.lock();
        let recent = parts
            .iter()
            .filter(|part| number.checked_sub(part.number).is_some_and(|age| age < PARTS as u64));
        recent.fold(Outcomes::default(), |sum, Part { outcomes, .. }| Outcomes {
            requests: sum.requests + outcomes.requests,
            failed: sum.failed + outcomes.failed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_minute_does_not_count() {
        let recent = RecentOutcomes::default();
        let sums = |second| {
            let Outcomes { requests, failed } = recent.sums(Timestamp::from_secs(second));
            (requests, failed)
        };
        assert_eq!(sums(1000), (0, 0));
        for second in 1000..1060 {
            recent.add(second % 3 == 0, Timestamp::from_secs(second));
        }
        assert_eq!(sums(1059), (60, 20));
        assert_eq!(sums(1060), (50, 17));
        assert_eq!(sums(1119), (0, 0));
        recent.add(true, Timestamp::from_secs(1120));
        assert_eq!(
            (sums(1120), sums(1019)),
            ((1, 1), (10, 3)),
            "what is in the future does not count"
        );
    }
}
