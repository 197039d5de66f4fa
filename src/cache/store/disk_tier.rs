//! The tier beneath the memory: what is written to the disk, and what is read from it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::{
    Store,
    content::{Content, ContentId},
    disk_record,
    encoded::EncodedVariant,
    index::{Note, Stored},
    ledger::{Held, with},
    memory::{encoded_key, slice_key},
    response::StoredResponse,
    variants::Variants,
};
use crate::{
    cache::{
        digest::{ByDigest, Digest},
        disk::{Disk, DiskUse, Kind},
        key::CacheKey,
    },
    http::coding::Coding,
};

/// The detail that `Cache-Status` and the log report for a hit on disk.
pub(crate) const FROM_DISK: &str = "disk";

/// How long a read from disk waits for room in memory.
const ROOM: Duration = Duration::from_millis(100);

/// Reads in progress. Requests for the same key share one.
pub(super) type Recalls = Mutex<HashMap<Digest, Arc<OnceCell<bool>>, ByDigest>>;

/// Removes a read from the list when nobody waits for it any more.
struct Recall<'a> {
    recalls: &'a Recalls,
    digest: Digest,
    cell: Arc<OnceCell<bool>>,
}

impl Drop for Recall<'_> {
    fn drop(&mut self) {
        let mut recalls = self.recalls.lock();
        // One reference is in the list, the other is this one.
        if Arc::strong_count(&self.cell) == 2 {
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
        let is_read_again = disk.reads(digest) > 0;
        let charge = self.memory.reserve(disk.length(digest)?, ROOM).await?;
        let loaded = disk.read(digest, key.as_bytes()).await?;
        if self.memory.current(key).is_some() {
            // A fetch was faster.
            return Some(());
        }
        match loaded.kind {
            Kind::Response => {
                let held = |body: Bytes| {
                    if is_read_again {
                        // Content that is in use belongs where it is sent from without a copy.
                        charge.hold(self.pages.join(&[body]))
                    } else {
                        Held::Shared(Box::new(with(body, charge)))
                    }
                };
                let response = Arc::new(disk_record::response(&loaded, held)?);
                self.memory.insert(key, Arc::clone(&response));
                self.unless_forgotten(disk, digest, key, |current| match current {
                    Stored::Response(current) => Arc::ptr_eq(current, &response),
                    Stored::Note(_) => false,
                })
            }
            Kind::Variants => {
                let variants = Arc::new(disk_record::variants(&loaded)?);
                self.memory.insert_note(key, Note::Varies(Arc::clone(&variants)));
                self.unless_forgotten(disk, digest, key, |current| match current {
                    Stored::Note(Note::Varies(current)) => Arc::ptr_eq(current, &variants),
                    _ => false,
                })
            }
            _ => None,
        }
    }

    /// Removes what was read from disk if it was replaced or forgotten meanwhile. Whoever replaces something does
    /// so on disk first.
    fn unless_forgotten(
        &self,
        disk: &Disk,
        digest: Digest,
        key: &CacheKey,
        is_ours: impl FnOnce(&Stored) -> bool,
    ) -> Option<()> {
        if disk.has(digest) {
            return Some(());
        }
        if self.memory.current(key).is_some_and(|current| is_ours(&current)) {
            self.memory.remove(key);
        }
        None
    }

    /// Writes a response that will be stored under `key`. If its content is still arriving, the older record is
    /// forgotten, and [`Self::save_complete`] writes the new one. A renewed head is not written: after its
    /// content has left the memory, it is validated again.
    pub(super) fn save(&self, key: &CacheKey, response: &StoredResponse) {
        let Some(disk) = &self.disk else { return };
        let digest = self.memory.digest_of(key);
        let is_renewed = match self.memory.current(key) {
            Some(Stored::Response(current)) => current.content.id == response.content.id,
            _ => false,
        };
        if is_renewed && disk.has(digest) {
            return;
        }
        let has_content = !response.content_state.is_head_only();
        let body = match response.content.whole() {
            Some(whole) if has_content => whole,
            None if has_content && self.layout(&response.content).is_single() => {
                return disk.forget(digest);
            }
            _ => Bytes::new(),
        };
        disk.write(disk_record::of_response(digest, key, response, body));
    }

    /// Writes the response stored under `key`, whose content has arrived.
    pub(crate) fn save_complete(&self, key: &CacheKey, content: &Content) {
        if let Some(Stored::Response(current)) = self.memory.current(key)
            && current.content.id == content.id
            && let (Some(disk), Some(body)) = (&self.disk, current.content.whole())
        {
            let digest = self.memory.digest_of(key);
            if !disk.has(digest) {
                disk.write(disk_record::of_response(digest, key, &current, body));
            }
        }
    }

    /// Writes the note that responses of a resource vary.
    pub(super) fn save_variants(&self, resource: &CacheKey, variants: &Variants) {
        if let Some(disk) = &self.disk {
            let digest = self.memory.digest_of(resource);
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
        let digest = self.memory.slice_digest(content, index);
        self.disk.as_ref().is_some_and(|disk| disk.has(digest))
    }

    /// Reads a slice from disk.
    pub(super) async fn recall_slice(&self, content: &Content, index: u32) -> Option<Bytes> {
        let disk = self.disk.as_ref()?;
        let digest = self.memory.slice_digest(content.id, index);
        let charge = self.memory.reserve(disk.length(digest)?, ROOM).await?;
        let loaded = disk.read(digest, &slice_key(content.id, index)).await?;
        let bytes = self.layout(content).bytes_of(&(index..index + 1));
        // The length of slices may have been another when it was written.
        if loaded.kind == Kind::Slice
            && loaded.description[..] == self.options.slice.to_le_bytes()
            && loaded.body.len() as u64 == bytes.end - bytes.start
        {
            return Some(with(loaded.body, charge));
        }
        disk.forget(digest);
        None
    }

    /// Writes the compressed form of a response.
    pub(super) fn save_form(&self, response: &StoredResponse, coding: Coding, form: &Content) {
        if let (Some(disk), Some(body)) = (&self.disk, form.bytes()) {
            let (id, body) = (response.content.id, Bytes::copy_from_slice(body));
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
        let charge = self.memory.reserve(disk.length(digest)?, ROOM).await?;
        let loaded = disk.read(digest, &encoded_key(id, coding)).await?;
        if loaded.kind != Kind::Encoded {
            return None;
        }
        let held = charge.hold(self.pages.join(&[loaded.body]));
        let content = Arc::new(Content::of(self.contents.next(), held));
        let form = self.put_form(response, coding, &content);
        matches!(self.form(response, coding), EncodedVariant::Ready(_)).then_some(form)
    }

    /// Forgets what is stored under `key`, in memory and on disk.
    pub(super) fn discard(&self, key: &CacheKey) {
        self.forget_on_disk(key);
        self.memory.remove(key);
    }

    /// Forgets what is stored on disk under `key`.
    pub(super) fn forget_on_disk(&self, key: &CacheKey) {
        if let Some(disk) = &self.disk {
            disk.forget(self.memory.digest_of(key));
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

    /// Writes what is waiting to the disk, and nothing after that. Blocks until that is done.
    pub fn close_disk(&self) {
        if let Some(disk) = &self.disk {
            disk.close();
        }
    }
}
