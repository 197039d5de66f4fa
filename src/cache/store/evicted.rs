//! Evictions, and the responses that were evicted last, to tell which misses more memory would have avoided.

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::cache::digest::Digest;

/// Responses that are remembered: about 2 MB.
const REMEMBERED: usize = 65_536;

/// Evictions for lack of room, and the responses that were evicted last.
#[derive(Debug, Default)]
pub(super) struct Evicted {
    evictions: AtomicU64,
    remembered: Mutex<Remembered>,
    misses: AtomicU64,
}

/// One half of each digest is enough to recognize it.
#[derive(Debug, Default)]
struct Remembered {
    known: HashSet<u64>,
    /// Oldest first. Some may be forgotten already.
    order: VecDeque<u64>,
}

impl Evicted {
    /// Counts an eviction.
    pub(super) fn count(&self) {
        self.evictions.fetch_add(1, Ordering::Relaxed);
    }

    /// Evictions since the start.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Remembers an evicted response.
    pub(super) fn remember(&self, digest: Digest) {
        let mut remembered = self.remembered.lock();
        if remembered.known.insert(digest.0) {
            remembered.order.push_back(digest.0);
        }
        if remembered.order.len() > REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.known.remove(&oldest);
        }
    }

    /// Counts a miss if it is for a response that was evicted.
    pub(super) fn note_miss(&self, digest: Digest) {
        if self.remembered.lock().known.remove(&digest.0) {
            self.misses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Misses for responses that had been evicted.
    pub(super) fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_of_the_last_evictions_count_once() {
        let evicted = Evicted::default();
        let count = REMEMBERED as u64;
        (0..count + 10).for_each(|number| evicted.remember(Digest(number, 0)));
        for number in [5, 10, 10, count + 9, count + 10] {
            evicted.note_miss(Digest(number, 0));
        }
        assert_eq!(evicted.misses(), 2);
        let remembered = evicted.remembered.lock();
        assert!(remembered.known.len() <= remembered.order.len());
        assert_eq!(remembered.order.len(), REMEMBERED);
    }
}
