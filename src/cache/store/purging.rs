//! Purging and invalidating stored responses.

use std::sync::Arc;

use super::{
    Store, disk_record,
    purge_log::{PurgeBatch, PurgeError},
    purge_mark::LogPosition,
    response::StoredResponse,
};
use crate::cache::key::CacheKey;

impl Store {
    /// Purges stored responses. When this resolves, the purges are in force, and as durable as the log
    /// makes them. All operator purges use this function: API, command line, events. If the disk is full, stored
    /// responses give way to the log.
    ///
    /// # Errors
    /// If the log cannot be written. The purges are not in force then.
    pub async fn purge(&self, batch: PurgeBatch) -> Result<LogPosition, PurgeError> {
        match self.purge_log.append(batch.clone()).await {
            Err(error) if error.is_disk_full() => {}
            appended => return appended,
        }
        // One at a time: the space of one file is enough for many purges.
        let _making = self.making_space.lock().await;
        loop {
            match self.purge_log.append(batch.clone()).await {
                Err(error) if error.is_disk_full() && self.make_space().await => {}
                appended => return appended,
            }
        }
    }

    async fn make_space(&self) -> bool {
        match &self.disk {
            Some(disk) => disk.make_space().await,
            None => false,
        }
    }

    /// Invalidates the stored responses of one path, in its generous reading, because an unsafe request for
    /// it succeeded (RFC 9111 §4.4). In force when this returns. Not in the log: a crash within about a second may
    /// undo it.
    pub fn invalidate(&self, distribution: &str, path: &str) {
        let number = self.floors.invalidate(distribution, path);
        if let Some(disk) = &self.disk {
            disk.note(disk_record::of_invalidation(distribution, path, number));
        }
    }

    /// Marks a stored response as stale, unless another has replaced it.
    pub fn expire(&self, key: &CacheKey, response: &Arc<StoredResponse>) {
        let _lock = self.lock_key(self.memory.digest_of(key));
        self.forget_on_disk(key);
        let stale = Arc::new(response.expired(response.mark));
        self.memory.replace(key, response, stale);
    }
}
