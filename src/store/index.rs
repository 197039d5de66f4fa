//! Where stored responses are found: one look, without a note of it.
//!
//! The memory tier decides what stays, and keeps its order for that. To ask it at each hit is to touch its
//! entry and its neighbours in that order, which with many stored responses are in no cache of the
//! processor's. What is found here was put in before the tier was told of it, and is taken out when the
//! tier lets it go: so nothing stays here that the tier does not know. What is put in
//! while an older one of the same key is evicted may be lost; it is fetched again.

use std::sync::Arc;

use hashbrown::{HashTable, hash_table::Entry};
use parking_lot::RwLock;

use super::{ahead, response::StoredResponse};

/// A power of two. With as many, threads rarely meet, and one that grows keeps others waiting for a
/// fraction of a millisecond.
const SHARDS: usize = 128;

/// What stands for a key: 128 bits by a secret function of it, of which 71 are compared here. Nobody can
/// look for two keys that are alike in them; that any two of ten million are by chance is less likely than
/// 1 : 10^7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(pub(super) u64, pub(super) u64);

/// On lines of the processor's of its own.
#[derive(Default)]
#[repr(align(64))]
struct Shard(RwLock<HashTable<(u64, Arc<StoredResponse>)>>);

/// The stored responses by their digests.
pub(super) struct Index(Box<[Shard]>);

impl Index {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }

    pub(super) fn get(&self, digest: Digest) -> Option<Arc<StoredResponse>> {
        let shard = self.shard(digest).read();
        let (_, response) = shard.find(digest.1, |(hash, _)| *hash == digest.1)?;
        ahead::load_value(&**response);
        Some(Arc::clone(response))
    }

    pub(super) fn insert(&self, digest: Digest, response: Arc<StoredResponse>) {
        let mut shard = self.shard(digest).write();
        let displaced =
            match shard.entry(digest.1, |(hash, _)| *hash == digest.1, |(hash, _)| *hash) {
                Entry::Occupied(mut place) => {
                    Some(std::mem::replace(&mut place.get_mut().1, response))
                }
                Entry::Vacant(place) => {
                    place.insert((digest.1, response));
                    None
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
        match shard.find_mut(digest.1, |(hash, _)| *hash == digest.1) {
            Some((_, standing)) => {
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
        let removed = shard.find_entry(digest.1, |(hash, _)| *hash == digest.1);
        let removed = removed.ok().map(|place| place.remove().0);
        drop((shard, removed));
    }

    #[expect(clippy::cast_possible_truncation, reason = "below the number of shards")]
    fn shard(&self, digest: Digest) -> &RwLock<HashTable<(u64, Arc<StoredResponse>)>> {
        &self.0[digest.0 as usize % SHARDS].0
    }
}
