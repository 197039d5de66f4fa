//! Responses whose freshness was renewed since they were written to disk.
//!
//! A 304 changes little of a response, and hot responses are renewed often. So a renewed response is not written at
//! once, but when it leaves the memory or the process ends, if it is fresh then.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{disk_record, memory::OnEviction, response::StoredResponse};
use crate::{
    base::clock::Stopwatch,
    cache::{
        digest::{ByDigest, Digest},
        disk::{Disk, Place},
        key::CacheKey,
    },
};

/// The responses that are remembered, about 150 bytes each. Others stay stale on disk, and are validated once more.
const MOST: usize = 1 << 17;

/// How long the end of the process waits for room in the queue of the disk.
const PATIENCE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(5);

/// The renewed responses in memory, each with its key and the place of its older record.
#[derive(Debug)]
pub(super) struct Renewals {
    renewed: Mutex<HashMap<Digest, (CacheKey, Place), ByDigest>>,
    /// Length of a slice in bytes.
    slice: u32,
}

impl Renewals {
    pub(super) fn new(slice: u32) -> Self {
        Self { renewed: Mutex::default(), slice }
    }

    /// Remembers that a response in memory is a renewed form of the record at `place`.
    pub(super) fn add(&self, digest: Digest, key: &CacheKey, place: Place) {
        let mut renewed = self.renewed.lock();
        if renewed.len() < MOST || renewed.contains_key(&digest) {
            renewed.insert(digest, (key.clone(), place));
        }
    }

    /// Forgets a response that was replaced or discarded.
    pub(super) fn remove(&self, digest: Digest) {
        self.renewed.lock().remove(&digest);
    }

    /// What to do with responses that are evicted from memory.
    pub(super) fn on_eviction(self: &Arc<Self>, disk: Arc<Disk>) -> OnEviction {
        let renewals = Arc::clone(self);
        Box::new(move |digest, response| renewals.evicted(&disk, digest, response))
    }

    /// Writes a response that leaves the memory, if it was renewed.
    fn evicted(&self, disk: &Disk, digest: Digest, response: &StoredResponse) {
        let renewed = self.renewed.lock().remove(&digest);
        if let Some((key, place)) = renewed {
            // If the disk cannot keep up, the older form remains.
            let _ = self.write(disk, digest, &key, place, response);
        }
    }

    /// Writes all renewed responses, which `current` finds. Blocks until they are queued, but not for long.
    pub(super) fn write_all(
        &self,
        disk: &Disk,
        current: impl Fn(&CacheKey) -> Option<Arc<StoredResponse>>,
    ) {
        let watch = Stopwatch::start();
        let renewed = std::mem::take(&mut *self.renewed.lock());
        for (digest, (key, place)) in renewed {
            let Some(response) = current(&key) else { continue };
            while !self.write(disk, digest, &key, place, &response) {
                if watch.elapsed() > PATIENCE {
                    return;
                }
                std::thread::sleep(TICK);
            }
        }
    }

    /// Queues a renewed response. False if there is no room.
    fn write(
        &self,
        disk: &Disk,
        digest: Digest,
        key: &CacheKey,
        place: Place,
        response: &StoredResponse,
    ) -> bool {
        let Some(body) = disk_record::body_of(response, self.slice) else { return true };
        let is_fresh = disk.now() < response.freshness.fresh_until;
        !is_fresh || disk.renew(disk_record::of_response(digest, key, response, body), place)
    }
}
