//! The index of stored responses and notes. Lookups do not touch the LRU.
//!
//! The memory tier decides what to evict and keeps the LRU order for that. Recording each hit in the
//! tier would touch the entry and its neighbours in that order, and with many stored responses none of
//! them is in a CPU cache. An insert reaches the index before the tier, and an eviction from the tier
//! removes the key here, so no key stays in the index that the tier does not track. An insert during the
//! eviction of an older value of the same key may be lost; it is fetched again.

use std::sync::Arc;

use parking_lot::RwLock;

use super::{purge_mark::PurgeMark, response::StoredResponse, variants::Variants};
use crate::{
    base::clock::Timestamp,
    cache::{digest::Digest, policy::NotStored, prefetch, table::Table},
};

/// A power of two. With this many shards, threads rarely contend, and a shard that grows blocks others
/// for a fraction of a millisecond.
const SHARDS: usize = 128;

/// The last response could not be stored: until a time, requests do not wait for each other.
pub(super) struct HitForMiss {
    pub(super) why: NotStored,
    pub(super) until: Timestamp,
    pub(super) mark: PurgeMark,
}

/// A note that is stored under a key instead of a response.
#[derive(Clone)]
pub(super) enum Note {
    /// The last answer could not be stored.
    HitForMiss(Arc<HitForMiss>),
    /// The key of a variant must be looked up.
    Varies(Arc<Variants>),
}

/// The value stored under a key.
pub(super) enum Stored {
    Response(Arc<StoredResponse>),
    Note(Note),
}

/// A shard's two tables. At most one of them holds a given key.
#[derive(Default)]
struct Tables {
    responses: Table<Arc<StoredResponse>>,
    notes: Table<Note>,
}

/// A shard, aligned to its own CPU cache line.
#[derive(Default)]
#[repr(align(64))]
struct Shard(RwLock<Tables>);

/// The stored responses and notes, by digest.
pub(super) struct Index(Box<[Shard]>);

impl Index {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }

    pub(super) fn get(&self, digest: Digest) -> Option<Stored> {
        let shard = self.shard(digest).read();
        match shard.responses.get(digest.1) {
            Some(response) => {
                prefetch::load_value(&**response);
                Some(Stored::Response(Arc::clone(response)))
            }
            None if shard.notes.is_empty() => None,
            None => shard.notes.get(digest.1).map(|note| Stored::Note(note.clone())),
        }
    }

    pub(super) fn insert(&self, digest: Digest, stored: Stored) {
        let mut shard = self.shard(digest).write();
        if let Some(response) = shard.responses.get(digest.1)
            && !matches!(&stored, Stored::Response(new) if Arc::ptr_eq(new, response))
        {
            response.displace();
        }
        let displaced = match stored {
            Stored::Response(response) => {
                (shard.responses.insert(digest.1, response), shard.notes.remove(digest.1))
            }
            Stored::Note(note) => {
                (shard.responses.remove(digest.1), shard.notes.insert(digest.1, note))
            }
        };
        drop((shard, displaced));
    }

    /// Replaces `old` with `new`; returns the value that is current afterwards.
    pub(super) fn replace(
        &self,
        digest: Digest,
        old: &Arc<StoredResponse>,
        new: Arc<StoredResponse>,
    ) -> Arc<StoredResponse> {
        let mut shard = self.shard(digest).write();
        match shard.responses.get_mut(digest.1) {
            Some(standing) => {
                if standing.serial == old.serial {
                    standing.displace();
                    new.clone_into(standing);
                }
                Arc::clone(standing)
            }
            None => new,
        }
    }

    /// Removes what is stored under a digest. Returns the response, if it was one.
    pub(super) fn remove(&self, digest: Digest) -> Option<Arc<StoredResponse>> {
        let mut shard = self.shard(digest).write();
        let (response, note) = (shard.responses.remove(digest.1), shard.notes.remove(digest.1));
        if let Some(response) = &response {
            response.displace();
        }
        drop((shard, note));
        response
    }

    #[expect(clippy::cast_possible_truncation, reason = "below the number of shards")]
    fn shard(&self, digest: Digest) -> &RwLock<Tables> {
        &self.0[digest.0 as usize % SHARDS].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_one_line_of_the_processors() {
        assert_eq!(size_of::<Shard>(), 64);
    }
}
