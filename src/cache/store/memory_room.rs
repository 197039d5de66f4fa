//! Room in memory for arriving bytes.

use std::{sync::Arc, time::Duration};

use super::{
    ledger::Charge,
    memory::{DISPLACES, Memory},
    options::Eviction,
    weights::{Piece, limit, weight},
};
use crate::cache::digest::Digest;

/// How often a fill that finds no room retries.
const TICK: Duration = Duration::from_millis(20);

impl Memory {
    /// Waits until `bytes` more fit under the bound; `None` if that takes too long.
    pub(super) async fn reserve(&self, bytes: u64, patience: Duration) -> Option<Charge> {
        let wait = async {
            loop {
                let freed = self.ledger.freed();
                if let Some(charge) = self.ledger.charge(bytes) {
                    return charge;
                }
                // moka evicts in the background; force it now.
                self.cache.run_pending_tasks();
                if let Some(charge) = self.ledger.charge(bytes) {
                    return charge;
                }
                if tokio::time::timeout(TICK, freed).await.is_err() {
                    self.displace(bytes);
                }
            }
        };
        tokio::time::timeout(patience, wait).await.ok()
    }

    /// Charges `bytes` more; `None` if they do not fit at once.
    pub(super) fn charge(&self, bytes: u64) -> Option<Charge> {
        self.ledger.charge(bytes)
    }

    /// Evicts entries, about `bytes` of them, because arriving bytes have priority. Needed only if slow readers and fills hold
    /// all of the headroom.
    fn displace(&self, bytes: u64) {
        let Some(_one) = self.displacing.try_lock() else { return };
        match self.eviction {
            Eviction::Lru => self.displace_oldest(bytes),
            Eviction::TinyLfu => self.displace_any(bytes),
        }
    }

    /// Evicts the least recently used entries, about `bytes` of them.
    fn displace_oldest(&self, bytes: u64) {
        // Inserts entries as heavy as `bytes` and all that is free, then removes them.
        let most = limit(self.bound);
        let free = most.saturating_sub(self.cache.weighted_size());
        let mut room = free.saturating_add(bytes).min(most);
        let mut inserted = Vec::new();
        while room > 0 {
            // Weights have 32 bits.
            let part = room.min(u32::MAX.into());
            room -= part;
            let digest = Digest(fastrand::u64(..), fastrand::u64(..));
            let part = usize::try_from(part).unwrap_or(usize::MAX);
            self.cache.insert(digest, Some(Arc::new(Piece::Room(part))));
            inserted.push(digest);
        }
        self.cache.run_pending_tasks();
        for digest in inserted {
            self.cache.invalidate(&digest);
        }
    }

    /// Evicts any entries, about `bytes` of them: TinyLFU would not admit an entry that only makes room.
    fn displace_any(&self, bytes: u64) {
        let mut left = bytes;
        let mut chosen = Vec::new();
        for (digest, entry) in &self.cache {
            left = left.saturating_sub(weight(&self.index, *digest, &entry, self.slice).into());
            chosen.push(*digest);
            if left == 0 {
                break;
            }
        }
        DISPLACES.set(true);
        for digest in chosen {
            self.cache.invalidate(&digest);
        }
        DISPLACES.set(false);
        self.cache.run_pending_tasks();
    }
}
