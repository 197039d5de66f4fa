//! Counts evictions, and remembers the latest ones: a request for one of these is a miss that more memory would have avoided.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::purge_mark::PurgeMark;
use crate::{base::clock::Timestamp, cache::digest::Digest};

/// Responses that are remembered: about 5 MB.
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
    known: HashMap<u64, (u64, EvictedResponse)>,
    /// Oldest first, with the number of the eviction. Some may be forgotten already.
    order: VecDeque<(u64, u64)>,
    number: u64,
}

/// What decides whether an evicted response could still be served.
#[derive(Clone, Copy, Debug)]
pub(super) struct EvictedResponse {
    pub(super) fresh_until: Timestamp,
    pub(super) mark: PurgeMark,
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
    pub(super) fn remember(&self, digest: Digest, response: EvictedResponse) {
        let mut remembered = self.remembered.lock();
        remembered.number += 1;
        let number = remembered.number;
        remembered.known.insert(digest.0, (number, response));
        remembered.order.push_back((digest.0, number));
        if remembered.order.len() > REMEMBERED
            && let Some((oldest, number)) = remembered.order.pop_front()
            // It may have been evicted again.
            && remembered.known.get(&oldest).is_some_and(|(newest, _)| *newest == number)
        {
            remembered.known.remove(&oldest);
        }
    }

    /// Forgets an evicted response, if it is remembered.
    pub(super) fn forget(&self, digest: Digest) -> Option<EvictedResponse> {
        self.remembered.lock().known.remove(&digest.0).map(|(_, response)| response)
    }

    /// Counts a miss that more memory would have avoided.
    pub(super) fn count_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Misses for responses that could have been served if they had not been evicted.
    pub(super) fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_evictions_are_remembered() {
        let evicted = Evicted::default();
        let response =
            EvictedResponse { fresh_until: Timestamp::default(), mark: PurgeMark::default() };
        let count = REMEMBERED as u64;
        (0..count + 10).for_each(|number| evicted.remember(Digest(number, 0), response));
        let found = [5, 10, 10, count + 9, count + 10]
            .map(|number| evicted.forget(Digest(number, 0)).is_some());
        assert_eq!(found, [false, true, false, true, false]);
        // What is evicted again is remembered from then on.
        evicted.remember(Digest(10, 0), response);
        (0..count - 1).for_each(|number| evicted.remember(Digest(count + number, 0), response));
        assert!(evicted.forget(Digest(10, 0)).is_some());
        assert_eq!(evicted.remembered.lock().order.len(), REMEMBERED);
    }
}
