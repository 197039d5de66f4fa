//! The index: which record of a digest is current, and where it is.
//!
//! Writes take time. From the moment that a record is replaced or forgotten, its digest has no place until
//! the writer is done, and only the newest operation on a digest may then set one.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::{Mutex, MutexGuard};

use super::{place::Place, segment::Segment};
use crate::cache::{digest::Digest, table::Table};

const SHARDS: usize = 128;

/// The number of an operation; later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation(u64);

/// The part of the index that one lock guards.
#[derive(Default)]
struct Shard {
    places: Table<Place>,
    /// The newest operation on each digest that waits for the writer.
    pending: HashMap<u64, Operation>,
    /// While old segments are being read: digests whose older records must not appear again.
    shadowed: HashSet<u64>,
}

/// The places of all current records.
pub(super) struct Index {
    shards: Box<[Mutex<Shard>]>,
    operations: AtomicU64,
    entries: AtomicU64,
    is_recovering: AtomicBool,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            operations: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            is_recovering: AtomicBool::new(true),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "below the number of shards")]
    fn shard(&self, digest: Digest) -> MutexGuard<'_, Shard> {
        self.shards[digest.0 as usize % SHARDS].lock()
    }

    /// The number of records.
    pub(super) fn len(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(super) fn get(&self, digest: Digest) -> Option<Place> {
        self.shard(digest).places.get(digest.1).copied()
    }

    /// The place of a record that will be read.
    pub(super) fn locate(&self, digest: Digest) -> Option<Place> {
        let mut shard = self.shard(digest);
        let place = shard.places.get_mut(digest.1)?;
        let before = *place;
        *place = before.read_again();
        Some(before)
    }

    /// Begins to replace the record of a digest. Returns the operation, and whether an older record may be on
    /// disk.
    pub(super) fn begin(&self, digest: Digest) -> (Operation, bool) {
        let operation = self.next_operation();
        let mut shard = self.shard(digest);
        let is_replaced = self.take(&mut shard, digest);
        let is_overtaken = shard.pending.insert(digest.1, operation).is_some();
        (operation, is_replaced || is_overtaken || self.is_recovering())
    }

    /// Ends an operation whose record was written, or not, if `place` is `None`. A newer operation on the same
    /// digest decides instead.
    pub(super) fn finish(&self, digest: Digest, operation: Operation, place: Option<Place>) {
        let mut shard = self.shard(digest);
        if shard.pending.get(&digest.1) != Some(&operation) {
            return;
        }
        shard.pending.remove(&digest.1);
        if let Some(place) = place {
            self.put(&mut shard, digest, place);
        }
    }

    /// Begins to write the record at `place` again. `None` if it is no longer current.
    pub(super) fn begin_move(&self, digest: Digest, place: Place) -> Option<Operation> {
        let mut shard = self.shard(digest);
        shard.places.get(digest.1).filter(|current| current.is_at(place))?;
        self.take(&mut shard, digest);
        let operation = self.next_operation();
        shard.pending.insert(digest.1, operation);
        Some(operation)
    }

    /// Removes the record at `place`. Returns whether it was current.
    pub(super) fn remove(&self, digest: Digest, place: Place) -> bool {
        let mut shard = self.shard(digest);
        let is_current = shard.places.get(digest.1).is_some_and(|current| current.is_at(place));
        is_current && self.take(&mut shard, digest)
    }

    /// Prefetches what [`Self::recover`] reads.
    pub(super) fn prefetch(&self, digest: Digest) {
        self.shard(digest).places.prefetch(digest.1);
    }

    /// Adds a record of an old segment, unless a newer record or operation stands.
    pub(super) fn recover(&self, digest: Digest, place: Place, segment: &Segment) {
        let mut shard = self.shard(digest);
        let is_older = shard.places.get(digest.1).is_some()
            || shard.pending.contains_key(&digest.1)
            || shard.shadowed.contains(&digest.1);
        // A segment is retired before its records are removed from here, so none is added after that.
        if !is_older && !segment.is_retired() {
            self.put(&mut shard, digest, place);
        }
    }

    /// Hides the records of a digest in segments that are yet to be read.
    pub(super) fn shadow(&self, digest: Digest) {
        let mut shard = self.shard(digest);
        if shard.places.get(digest.1).is_none() {
            shard.shadowed.insert(digest.1);
        }
    }

    /// Ends the recovery.
    pub(super) fn recovered(&self) {
        self.is_recovering.store(false, Ordering::Release);
        for shard in &self.shards {
            shard.lock().shadowed = HashSet::new();
        }
    }

    fn next_operation(&self) -> Operation {
        Operation(self.operations.fetch_add(1, Ordering::Relaxed))
    }

    fn is_recovering(&self) -> bool {
        self.is_recovering.load(Ordering::Acquire)
    }

    fn put(&self, shard: &mut Shard, digest: Digest, place: Place) {
        if shard.places.insert(digest.1, place).is_none() {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self, shard: &mut Shard, digest: Digest) -> bool {
        if self.is_recovering() {
            shard.shadowed.insert(digest.1);
        }
        let taken = shard.places.remove(digest.1).is_some();
        self.entries.fetch_sub(u64::from(taken), Ordering::Relaxed);
        taken
    }
}
