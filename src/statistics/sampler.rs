//! Decides which exchanges are sampled.

use std::cell::Cell;

use crate::base::clock::Timestamp;

/// Samples that a thread takes each second, about. Up to this rate, it takes all.
const RATE: u32 = 200;

/// Errors that a thread keeps each second besides the samples.
const ERRORS: u32 = 20;

/// A clock that goes back by more seconds than this was set anew.
const BACK: u64 = 60;

/// One thread's choice of samples. A sample of one in a hundred exchanges has the weight 100.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampler {
    /// The second that the counts belong to.
    second: u64,
    seen: u32,
    taken: u32,
    errors: u32,
    /// One of so many exchanges is sampled.
    every: u32,
    /// Exchanges before the next sample.
    skip: u32,
}

thread_local! {
    static SAMPLER: Cell<Sampler> = const { Cell::new(Sampler::NEW) };
}

impl Sampler {
    const NEW: Self = Self { second: 0, seen: 0, taken: 0, errors: 0, every: 1, skip: 0 };

    /// The weight of this thread's next exchange, which ends at `end`, if it is sampled. An error that is not may still
    /// be kept, with the weight 0.
    pub(super) fn weight(end: Timestamp, is_error: bool) -> Option<u32> {
        SAMPLER.with(|sampler| {
            let mut state = sampler.get();
            let weight = state.next(end.as_secs(), |below| fastrand::u32(0..below));
            let kept = weight.or_else(|| is_error.then(|| state.error()).flatten());
            sampler.set(state);
            kept
        })
    }

    fn next(&mut self, second: u64, random: impl Fn(u32) -> u32) -> Option<u32> {
        if second > self.second || second + BACK < self.second {
            (self.every, self.second) = ((self.seen / RATE).max(1), second);
            (self.seen, self.taken, self.errors) = (0, 0, 0);
            // The rest of a long skip would delay the first sample after a busy time.
            self.skip = self.skip.min(2 * (self.every - 1));
        }
        self.seen = self.seen.saturating_add(1);
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        let weight = self.every;
        self.taken += 1;
        if self.taken == RATE {
            (self.every, self.taken) = (self.every.saturating_mul(2), 0);
        }
        // The mean is `every - 1`.
        self.skip = random(self.every.saturating_mul(2) - 1);
        Some(weight)
    }

    fn error(&mut self) -> Option<u32> {
        self.errors = self.errors.saturating_add(1);
        (self.errors <= ERRORS).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_exchanges_are_all_sampled() {
        let mut sampler = Sampler::NEW;
        for second in 1..5 {
            for _ in 0..RATE {
                assert_eq!(sampler.next(second, |_| 0), Some(1));
            }
        }
    }

    #[test]
    fn of_many_the_weights_add_up_to_their_number() {
        let random = fastrand::Rng::with_seed(1);
        let random = std::cell::RefCell::new(random);
        let mut sampler = Sampler::NEW;
        let (mut taken, mut weights) = (0_u64, 0_u64);
        for second in 1..20 {
            for number in 0..100_000 {
                // Some end late.
                let end = second - u64::from(number % 100 == 0);
                let weight = sampler.next(end, |below| random.borrow_mut().u32(0..below));
                taken += u64::from(weight.is_some());
                weights += u64::from(weight.unwrap_or_default());
            }
        }
        assert!((3_000..12_000).contains(&taken), "{taken}");
        assert!((1_800_000..2_000_000).contains(&weights), "{weights}");
    }

    #[test]
    fn a_flood_of_errors_is_cut() {
        let mut sampler = Sampler::NEW;
        assert_eq!((0..1000).filter(|_| sampler.error().is_some()).count(), 20);
        sampler.next(1, |_| 0);
        assert_eq!(sampler.error(), Some(0));
    }

    #[test]
    fn a_quiet_second_after_a_busy_one_is_sampled_at_once() {
        let mut sampler = Sampler::NEW;
        for _ in 0..1_000_000 {
            sampler.next(1, |below| below - 1);
        }
        sampler.next(2, |_| 0);
        assert_eq!(sampler.next(3, |_| 0), Some(1));
    }
}
