//! The handover of a store to the next process.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{broadcast, mpsc},
    time::timeout,
};

use super::{
    Options, Store, StoreIdentity, disk_record,
    index::{Note, Stored},
    late_invalidation::LateInvalidation,
    memory::Found,
    memory_record::MemoryRecord,
    predecessor::Predecessor,
    purge_entry::PurgeEntry,
    purge_floors::PurgeFloors,
    purge_log::PurgeLog,
    purge_state::PurgeState,
    shared_journal::PausedJournal,
    successor::ForSuccessor,
};
use crate::{
    base::clock::Timestamp,
    cache::{
        digest::Digest,
        disk::{FORMAT, FolderError, Kind, Loaded, Record},
        key::CacheKey,
    },
};

/// The version of the records in [`Store::records`].
pub(crate) const RECORDS: u32 = FORMAT;

impl Store {
    /// A store that takes over from the store of another process, which has this identity. `None` if there were too
    /// many processes already.
    pub(crate) fn after(
        last: StoreIdentity,
        options: Options,
        log: impl FnOnce(PurgeState) -> Box<dyn PurgeLog>,
    ) -> Option<Self> {
        let identity = StoreIdentity { epoch: last.epoch.checked_add(1)?, ..last };
        Some(Self::in_memory_of(identity, options, log))
    }

    /// The identity of this store.
    pub(crate) const fn identity(&self) -> StoreIdentity {
        self.identity
    }

    /// The responses and slices in memory that were used most recently, up to `limit` bytes. The most recently used one
    /// is the last. Compressed forms are made again.
    pub(crate) fn records(&self, limit: u64, now: Timestamp) -> impl Iterator<Item = MemoryRecord> {
        let digests = self.memory.most_used(limit, now).into_iter();
        let records = digests.filter_map(|digest| self.record(digest));
        records.map(|Record { kind, digest, description, body, .. }| MemoryRecord {
            kind: kind as u8,
            digest: (digest.0, digest.1),
            description: description.into(),
            body,
        })
    }

    fn record(&self, digest: Digest) -> Option<Record> {
        let no_key = CacheKey::from_bytes(&[]);
        Some(match self.memory.found(digest)? {
            Found::Stored(Stored::Response(response)) => {
                let body = disk_record::body_of(&response, self.options.slice)?;
                disk_record::of_response(digest, &no_key, &response, body)
            }
            Found::Stored(Stored::Note(Note::Varies(variants))) => {
                disk_record::of_variants(digest, &no_key, &variants)
            }
            Found::Stored(Stored::Note(Note::HitForMiss(_))) => return None,
            Found::Slice(bytes) => {
                let length = self.options.slice.to_le_bytes().to_vec();
                disk_record::record(Kind::Slice, digest, &[], length, bytes)
            }
        })
    }

    /// Stores a record of the last process in memory, unless it cannot be used or there is no room.
    pub(crate) fn take_record(&self, record: MemoryRecord) {
        let MemoryRecord { kind, digest, description, body } = record;
        let digest = Digest(digest.0, digest.1);
        let Some(charge) = self.memory.charge(body.len() as u64) else { return };
        let held = |body: Bytes| charge.hold(self.pages.join(&[body]));
        let Some(kind) = Kind::of(kind) else { return };
        let record = Loaded { kind, digest, key: Bytes::new(), description, body };
        match kind {
            Kind::Response => {
                if let Some(response) = disk_record::response(&record, held) {
                    self.memory.insert_at(digest, Arc::new(response));
                }
            }
            Kind::Variants => {
                if let Some(variants) = disk_record::variants(&record) {
                    self.memory.store(digest, Stored::Note(Note::Varies(Arc::new(variants))));
                }
            }
            Kind::Slice if record.description[..] == self.options.slice.to_le_bytes() => {
                self.memory.take_slice(digest, held(record.body).into());
            }
            _ => {}
        }
    }

    /// The purges in force.
    pub(crate) const fn floors(&self) -> &Arc<PurgeFloors> {
        &self.floors
    }

    /// Stops writing to the disk, so that another process can use its directory. Purges wait from now on. `None` if
    /// purges in progress take longer than `patience`; then nothing changes.
    pub(crate) async fn pause(self: &Arc<Self>, patience: Duration) -> Option<PausedJournal> {
        let paused = timeout(patience, self.purge_journal.pause()).await.ok()?;
        let store = Arc::clone(self);
        // A panic is in the log, and leaves the disk as it is.
        let _ = tokio::task::spawn_blocking(move || store.pause_disk()).await;
        Some(paused)
    }

    /// Writes to the disk again.
    ///
    /// # Errors
    /// If another process uses its directory.
    pub(crate) fn resume(&self, paused: PausedJournal) -> Result<(), FolderError> {
        let resumed = self.disk.as_ref().map_or(Ok(()), |disk| disk.resume());
        self.purge_journal.resume(paused);
        resumed
    }

    /// Leaves the disk and the log of purges to the next process, which gets the purges that arrive here.
    pub(crate) fn hand_over(&self, paused: PausedJournal, successor: mpsc::Sender<ForSuccessor>) {
        self.successor.set(successor);
        paused.hand_over(self.lease.is_some());
        if let Some(disk) = &self.disk {
            disk.leave();
        }
    }

    /// Purges are complete once the last process, which still serves a few requests, has them, too.
    pub(crate) fn set_predecessor(&self, predecessor: Predecessor) {
        self.purge_journal.set_predecessor(predecessor);
    }

    /// Uses nothing stored without validation from now on: purges may be missing.
    pub(crate) fn distrust(&self) {
        self.is_distrusted.store(true, Ordering::Relaxed);
    }

    /// Applies purges of the next process, also in an older one that still serves.
    pub(crate) async fn apply_of_successor(&self, entries: &[PurgeEntry]) {
        self.purge_journal.apply_of_successor(entries).await;
    }

    /// The invalidations by unsafe requests from now on.
    pub(crate) fn invalidated(&self) -> broadcast::Receiver<LateInvalidation> {
        self.invalidated.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::store::{Content, Eviction, Purge, PurgeBatch, PurgeMode};

    const OPTIONS: Options =
        Options { memory: 16 << 20, eviction: Eviction::Lru, slice: 1 << 20, read_ahead: 4 };

    async fn purge(store: &Store) {
        let (distribution, purges) = ("media".into(), vec![Purge::Prefix("/".into())]);
        let batch = PurgeBatch { distribution, purges, mode: PurgeMode::Hard };
        store.purge(batch).await.expect("purged");
    }

    #[tokio::test]
    async fn positions_and_numbers_of_the_next_process_are_above_those_of_the_last() {
        let mut store = Arc::new(Store::new(OPTIONS));
        let mut newest = store.floors().newest();
        for _ in 0..3 {
            let content: Content = store.new_content(1);
            purge(&store).await;
            assert!(store.floors().newest() > newest);
            newest = store.floors().newest();
            let next = Store::after(store.identity(), OPTIONS, PurgeState::local_log);
            let next = next.expect("an epoch is left");
            for entry in store.floors().entries() {
                next.floors().apply(&entry);
            }
            assert_eq!(next.floors().newest(), newest);
            assert!(next.new_content(1).id.0 > content.id.0);
            store = Arc::new(next);
        }
        let last = StoreIdentity { epoch: u16::MAX, ..store.identity() };
        assert!(Store::after(last, OPTIONS, PurgeState::local_log).is_none());
    }

    #[tokio::test]
    async fn invalidations_of_the_last_process_are_known() {
        let store = Store::new(OPTIONS);
        store.invalidate("media", "/early");
        let next = Store::after(store.identity(), OPTIONS, PurgeState::local_log);
        let next = next.expect("an epoch is left");
        let before = next.floors().mark();
        next.floors().merge_invalidations(store.floors().invalidations());
        assert!(next.was_invalidated("media", "/early"));
        assert!(!next.was_invalidated("media", "/other"));
        assert_eq!(next.floors().mark(), before, "all that it stores is newer");
        let mut late = next.invalidated();
        next.invalidate("media", "/late");
        let late = late.recv().await.expect("sent");
        assert_eq!((&*late.distribution, &*late.path), ("media", "/late"));
    }

    #[test]
    fn a_store_without_all_purges_uses_nothing() {
        let store = Store::new(OPTIONS);
        assert!(store.may_reuse());
        store.distrust();
        assert!(!store.may_reuse());
    }
}
