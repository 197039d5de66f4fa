//! The tier beneath the memory: what is written to the disk, and what is read from it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

use super::{
    Store,
    body_buffer::BodyBuffer,
    content::{Content, ContentId},
    disk_record,
    floor::PurgeVerdict,
    index::{Note, Stored},
    ledger::{Charge, Held, with},
    memory::{encoded_key, slice_key},
    purge_journal::PurgeJournal,
    receive::{join, to_usize},
    response::StoredResponse,
    variants::Variants,
};
use crate::{
    cache::{
        digest::{ByDigest, Digest},
        disk::{Disk, DiskUse, Kind, Located},
        key::CacheKey,
        memfd::Pages,
    },
    http::coding::Coding,
};

/// The detail that `Cache-Status` and the log report for a hit on disk.
pub(crate) const FROM_DISK: &str = "disk";

/// How long a read from disk waits for room in memory.
const ROOM: Duration = Duration::from_millis(100);

/// How long renewed responses are written before another process uses the disk. The others are validated once more.
const RENEWALS: Duration = Duration::from_millis(500);

/// Shorter content is copied from the blocks that were read: they take notably more memory, and the LRU order counts only
/// the content.
const LEAST_SHARED: usize = 256 << 10;

/// Reads in progress. Requests for the same key share one.
pub(super) type Recalls = Mutex<HashMap<Digest, Arc<OnceCell<bool>>, ByDigest>>;

/// Content that was read from disk. `charge` is for all blocks that it is in.
fn shared_or_copied(body: Bytes, charge: Charge) -> Held {
    if body.len() < LEAST_SHARED {
        charge.hold(Pages::on_heap(&[body]))
    } else {
        Held::Shared(Box::new(with(body, charge)))
    }
}

/// Removes a read from the list when nobody waits for it any more.
struct Recall<'a> {
    recalls: &'a Recalls,
    digest: Digest,
    cell: Arc<OnceCell<bool>>,
}

impl Drop for Recall<'_> {
    fn drop(&mut self) {
        let mut recalls = self.recalls.lock();
        drop(std::mem::take(&mut self.cell));
        if recalls.get(&self.digest).is_some_and(|cell| Arc::strong_count(cell) == 1) {
            recalls.remove(&self.digest);
        }
    }
}

impl Store {
    /// Whether there is a disk cache.
    #[must_use]
    pub(crate) const fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    fn disk_has(&self, digest: Digest) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.has(digest))
    }

    /// Reads what is stored under `key` from disk into memory. Returns whether there is something in memory now
    /// that was not there before.
    pub(crate) async fn recall(&self, key: &CacheKey) -> bool {
        let digest = self.memory.digest_of(key);
        let Some(disk) = self.disk.as_ref().filter(|disk| disk.has(digest)) else { return false };
        let cell = Arc::clone(self.recalls.lock().entry(digest).or_default());
        let recall = Recall { recalls: &self.recalls, digest, cell };
        let load = async { self.load(disk, digest, key).await.is_some() };
        *recall.cell.get_or_init(|| load).await
    }

    async fn load(&self, disk: &Disk, digest: Digest, key: &CacheKey) -> Option<()> {
        let (stored, located) = self.read_from_disk(key).await?;
        let _lock = self.lock_key(digest);
        if self.memory.current(key).is_some() {
            // A fetch was faster.
            return Some(());
        }
        if !disk.is_current(digest, located) {
            return None;
        }
        match stored {
            Stored::Response(response) => self.memory.insert(key, response),
            Stored::Note(note) => self.memory.insert_note(key, note),
        }
        Some(())
    }

    /// Reads what is stored on disk under `key`.
    pub(super) async fn read_from_disk(&self, key: &CacheKey) -> Option<(Stored, Located)> {
        let (disk, digest) = (self.disk.as_ref()?, self.memory.digest_of(key));
        let place = disk.place(digest)?;
        let (is_read_again, length) = (place.reads() > 0, place.length() as u64);
        if !BodyBuffer::fits(self, length) {
            return None;
        }
        let charge = self.memory.reserve(length, ROOM).await?;
        let (loaded, located) = disk.read(digest, key.as_bytes()).await?;
        let stored = match loaded.kind {
            Kind::Response => {
                let is_short = loaded.body.len() <= to_usize(self.options.slice.into());
                let pages = if is_read_again && is_short {
                    // Content that is in use belongs where it is sent from without a copy.
                    Some(join(&self.pages, std::slice::from_ref(&loaded.body)).await)
                } else {
                    None
                };
                let held = |body: Bytes| match pages {
                    Some(pages) => charge.hold(pages),
                    None => shared_or_copied(body, charge),
                };
                Stored::Response(Arc::new(disk_record::response(&loaded, held)?))
            }
            Kind::Variants => Stored::Note(Note::Varies(Arc::new(disk_record::variants(&loaded)?))),
            _ => return None,
        };
        Some((stored, located))
    }

    /// Locks what is stored under a digest, in memory and on disk: held for both changes, and for
    /// nothing that waits.
    pub(super) fn lock_key(&self, digest: Digest) -> MutexGuard<'_, ()> {
        let lock = usize::try_from(digest.0 % self.key_locks.len() as u64).unwrap_or(0);
        self.key_locks[lock].lock()
    }

    /// Writes a response that will be stored under `key`; the caller has locked the key. If its content is still arriving,
    /// the older record is forgotten, and [`Self::save_complete`] writes the new one. A response that renews a stale
    /// one is written later.
    pub(super) fn save(&self, key: &CacheKey, response: &StoredResponse) {
        let Some(disk) = &self.disk else { return };
        let digest = self.memory.digest_of(key);
        let renews_stale = match self.memory.current(key) {
            Some(Stored::Response(current)) => {
                current.content.id == response.content.id
                    && current.freshness.fresh_until <= response.freshness.received_at
            }
            _ => false,
        };
        if self.is_purged(key, response) {
            return self.forget_on_disk(key);
        }
        if renews_stale && let Some(older) = disk.located(digest) {
            return self.renewals.add(digest, key, older);
        }
        let Some(body) = disk_record::body_of(response, self.options.slice) else {
            return self.forget_on_disk(key);
        };
        self.renewals.remove(digest);
        disk.write(disk_record::of_response(digest, key, response, body));
        // An invalidation in between is before this record in the log, and may be evicted before it.
        if self.is_purged(key, response) {
            disk.forget(digest);
        }
    }

    /// Whether a purge or invalidation since the response was requested has removed it.
    fn is_purged(&self, key: &CacheKey, response: &StoredResponse) -> bool {
        let verdict = self.floors.remains(&key.resource(), &response.tags, response.mark);
        verdict == PurgeVerdict::Nothing
    }

    /// Writes the response stored under `key`, whose content has arrived.
    pub(crate) fn save_complete(&self, key: &CacheKey, content: &Content) {
        if self.disk.is_none() {
            return;
        }
        let _lock = self.lock_key(self.memory.digest_of(key));
        if let Some(Stored::Response(current)) = self.memory.current(key)
            && current.content.id == content.id
            && let (Some(disk), Some(body)) = (&self.disk, current.content.whole())
        {
            let digest = self.memory.digest_of(key);
            if !disk.has(digest) && !self.is_purged(key, &current) {
                disk.write(disk_record::of_response(digest, key, &current, body));
            }
        }
    }

    /// Writes the note that responses of a resource vary.
    ///
    /// The caller has locked the key.
    pub(super) fn save_variants(&self, resource: &CacheKey, variants: &Variants) {
        if let Some(disk) = &self.disk {
            let digest = self.memory.digest_of(resource);
            self.renewals.remove(digest);
            disk.write(disk_record::of_variants(digest, resource, variants));
        }
    }

    /// Writes a slice, unless it is on disk already.
    pub(super) fn save_slice(&self, content: &Content, index: u32, bytes: &Bytes) {
        let Some(disk) = &self.disk else { return };
        let digest = self.memory.slice_digest(content.id, index);
        if !disk.has(digest) {
            let (key, length) = (slice_key(content.id, index), self.options.slice.to_le_bytes());
            let body = bytes.clone();
            disk.write(disk_record::record(Kind::Slice, digest, &key, length.to_vec(), body));
        }
    }

    /// Whether a slice is on disk.
    pub(super) fn is_on_disk(&self, content: ContentId, index: u32) -> bool {
        self.disk_has(self.memory.slice_digest(content, index))
    }

    /// Reads a slice from disk, with a charge for its memory.
    pub(super) async fn recall_slice(
        &self,
        content: &Content,
        index: u32,
    ) -> Option<(Bytes, Charge)> {
        let disk = self.disk.as_ref()?;
        let digest = self.memory.slice_digest(content.id, index);
        let length = disk.place(digest)?.length() as u64;
        let charge = self.memory.reserve(length, ROOM).await?;
        let (loaded, _) = disk.read(digest, &slice_key(content.id, index)).await?;
        let bytes = self.layout(content).bytes_of(&(index..index + 1));
        // The length of slices may have been another when it was written.
        if loaded.kind == Kind::Slice
            && loaded.description[..] == self.options.slice.to_le_bytes()
            && loaded.body.len() as u64 == bytes.end - bytes.start
        {
            return Some((loaded.body, charge));
        }
        disk.forget(digest);
        None
    }

    /// Writes the compressed form of a response.
    pub(super) fn save_form(&self, response: &StoredResponse, coding: Coding, form: &Arc<Content>) {
        if let (Some(disk), Some(body)) = (&self.disk, form.whole()) {
            let id = response.content.id;
            let digest = self.memory.encoded_digest(id, coding);
            let key = encoded_key(id, coding);
            disk.write(disk_record::record(Kind::Encoded, digest, &key, Vec::new(), body));
        }
    }

    /// Reads the compressed form of a response from disk into memory.
    pub(crate) async fn recall_form(
        &self,
        response: &Arc<StoredResponse>,
        coding: Coding,
    ) -> Option<Arc<StoredResponse>> {
        let disk = self.disk.as_ref()?;
        let id = response.content.id;
        let digest = self.memory.encoded_digest(id, coding);
        let length = disk.place(digest)?.length() as u64;
        let charge = self.memory.reserve(length, ROOM).await?;
        let (loaded, _) = disk.read(digest, &encoded_key(id, coding)).await?;
        if loaded.kind != Kind::Encoded {
            return None;
        }
        let content = Content::of(self.contents.next(), shared_or_copied(loaded.body, charge));
        let content = Arc::new(content);
        Some(self.put_form(response, coding, &content))
    }

    /// Forgets what is stored under `key`, in memory and on disk.
    pub(super) fn discard(&self, key: &CacheKey) {
        let _lock = self.lock_key(self.memory.digest_of(key));
        self.forget_on_disk(key);
        self.memory.remove(key);
    }

    /// Forgets what is stored on disk under `key`; the caller has locked the key.
    pub(super) fn forget_on_disk(&self, key: &CacheKey) {
        if let Some(disk) = &self.disk {
            let digest = self.memory.digest_of(key);
            self.renewals.remove(digest);
            disk.forget(digest);
        }
    }

    /// The state of the disk cache, if there is one.
    #[must_use]
    pub fn disk_usage(&self) -> Option<DiskUse> {
        self.disk.as_ref().map(|disk| disk.usage())
    }

    /// Waits until everything so far is written to the disk.
    pub async fn flush_disk(&self) {
        if let Some(disk) = &self.disk {
            disk.flush().await;
        }
    }

    /// Writes what is waiting to the disk, and leaves its directory to another process. Blocks until that is done.
    pub(super) fn pause_disk(&self) {
        if let Some(disk) = &self.disk {
            self.write_renewed(disk, RENEWALS);
            disk.pause();
        }
    }

    fn write_renewed(&self, disk: &Disk, patience: Duration) {
        self.renewals.write_all(disk, patience, |key| match self.memory.current(key) {
            Some(Stored::Response(response)) => Some(response),
            _ => None,
        });
    }

    /// Writes what is waiting to the disk, and nothing after that. Blocks until that is done. Renewed responses are
    /// written only as long as `patience` lasts.
    pub fn close_disk(&self, patience: Duration) {
        self.purge_journal.close();
        if let Some(disk) = &self.disk {
            self.write_renewed(disk, patience);
            disk.close();
        }
    }
}
