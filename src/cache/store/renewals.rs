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
        disk::{Disk, Located},
        key::CacheKey,
    },
};

/// The responses that are remembered. Others stay stale on disk, and are validated once more.
const MOST: usize = 1 << 16;

/// Keys of more bytes are not remembered, so that all of them take little memory.
const MOST_KEY: usize = 256;

/// How often the end of the process looks for room in the queue of the disk.
const TICK: Duration = Duration::from_millis(5);

/// The renewed responses in memory, each with its key and its older record.
#[derive(Debug)]
pub(super) struct Renewals {
    renewed: Mutex<HashMap<Digest, (CacheKey, Located), ByDigest>>,
    /// Length of a slice in bytes.
    slice: u32,
}

impl Renewals {
    pub(super) fn new(slice: u32) -> Self {
        Self { renewed: Mutex::default(), slice }
    }

    /// Remembers that a response in memory is a newer form of a record.
    pub(super) fn add(&self, digest: Digest, key: &CacheKey, older: Located) {
        if key.as_bytes().len() > MOST_KEY {
            return;
        }
        let mut renewed = self.renewed.lock();
        if renewed.len() < MOST || renewed.contains_key(&digest) {
            renewed.insert(digest, (key.clone(), older));
        }
    }

    /// Forgets a response that was replaced or discarded.
    pub(super) fn remove(&self, digest: Digest) {
        self.renewed.lock().remove(&digest);
    }

    /// The function for responses that are evicted from memory.
    pub(super) fn on_eviction(self: &Arc<Self>, disk: Arc<Disk>) -> OnEviction {
        let renewals = Arc::clone(self);
        Box::new(move |digest, response| renewals.evicted(&disk, digest, response))
    }

    /// Writes a response that leaves the memory, if it was renewed.
    fn evicted(&self, disk: &Disk, digest: Digest, response: &StoredResponse) {
        let renewed = self.renewed.lock().remove(&digest);
        if let Some((key, older)) = renewed {
            // If the disk cannot keep up, the older form remains.
            let _ = self.write(disk, digest, &key, older, response);
        }
    }

    /// Queues all renewed responses that `current` still finds. Blocks for at most `patience`.
    pub(super) fn write_all(
        &self,
        disk: &Disk,
        patience: Duration,
        current: impl Fn(&CacheKey) -> Option<Arc<StoredResponse>>,
    ) {
        let watch = Stopwatch::start();
        let renewed = std::mem::take(&mut *self.renewed.lock());
        for (digest, (key, older)) in renewed {
            let Some(response) = current(&key) else { continue };
            loop {
                if watch.elapsed() >= patience {
                    return;
                }
                if self.write(disk, digest, &key, older, &response) {
                    break;
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
        older: Located,
        response: &StoredResponse,
    ) -> bool {
        let Some(body) = disk_record::body_of(response, self.slice) else { return true };
        let is_fresh = disk.now() < response.freshness.fresh_until;
        !is_fresh || disk.renew(disk_record::of_response(digest, key, response, body), older)
    }
}
