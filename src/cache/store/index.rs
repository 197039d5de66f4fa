//! Where stored responses are found, and the notes that stand in their place: one look, which nobody is told of.
//!
//! The memory tier decides what stays, and keeps its order for that. To ask it at each hit is to touch its
//! entry and its neighbours in that order, which with many stored responses are in no cache of the
//! processor's. What is found here was put in before the tier was told of it, and is taken out when the
//! tier lets it go: so nothing stays here that the tier does not know. What is put in while an older one of
//! the same key is evicted may be lost; it is fetched again.

use std::{
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::Arc,
};

use parking_lot::RwLock;

use super::{
    prefetch, purge_mark::PurgeMark, response::StoredResponse, table::Table, variants::Variants,
};
use crate::base::clock::Timestamp;

/// A power of two. With as many, threads rarely meet, and one that grows keeps others waiting for a
/// fraction of a millisecond.
const SHARDS: usize = 128;

/// What stands for a key: 128 bits by a secret function of it, of which 71 are compared here. Nobody can
/// look for two keys that are alike in them; that any two of ten million are by chance is less likely than
/// 1 : 10^7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(pub(super) u64, pub(super) u64);

/// Tables of digests.
pub(super) type ByDigest = BuildHasherDefault<Leading>;

impl Hash for Digest {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0);
    }
}

/// A digest is a hash already.
#[derive(Default)]
pub(super) struct Leading(u64);

impl Hasher for Leading {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        // What is hashed may be a digest and more.
        self.0 = self.0.rotate_left(32) ^ number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Until when requests do not wait for each other.
pub(super) struct HitForMiss {
    pub(super) until: Timestamp,
    pub(super) mark: PurgeMark,
}

/// What stands for a key in the place of a response.
#[derive(Clone)]
pub(super) enum Note {
    /// The last answer could not be stored.
    HitForMiss(Arc<HitForMiss>),
    /// The key of a variant must be looked up.
    Varies(Arc<Variants>),
}

/// What stands for a key.
pub(super) enum Stored {
    Response(Arc<StoredResponse>),
    Note(Note),
}

/// A key stands in one of them at most.
#[derive(Default)]
struct Tables {
    responses: Table<Arc<StoredResponse>>,
    notes: Table<Note>,
}

/// On a line of the processor's of its own.
#[derive(Default)]
#[repr(align(64))]
struct Shard(RwLock<Tables>);

/// What is stored, by digests.
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

    /// Puts `new` in the place of `old`; gives back what stands there then.
    pub(super) fn replace(
        &self,
        digest: Digest,
        old: &Arc<StoredResponse>,
        new: Arc<StoredResponse>,
    ) -> Arc<StoredResponse> {
        let mut shard = self.shard(digest).write();
        match shard.responses.get_mut(digest.1) {
            Some(standing) => {
                if Arc::ptr_eq(standing, old) {
                    new.clone_into(standing);
                }
                Arc::clone(standing)
            }
            None => new,
        }
    }

    pub(super) fn remove(&self, digest: Digest) {
        let mut shard = self.shard(digest).write();
        let removed = (shard.responses.remove(digest.1), shard.notes.remove(digest.1));
        drop((shard, removed));
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
