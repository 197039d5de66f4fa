//! Purging and invalidating stored responses.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Store, disk_record,
    late_invalidation::{LateInvalidation, ServedBy},
    purge_log::{PurgeBatch, PurgeError},
    response::StoredResponse,
};
use crate::cache::key::CacheKey;

impl Store {
    /// Purges stored responses. When this resolves, the purges are in force, and as durable as the log
    /// makes them. All operator purges use this function: API, command line, events. If the disk is full, stored
    /// responses give way to the log.
    ///
    /// # Errors
    /// If the log cannot be written, or other nodes may not have the purges yet.
    pub async fn purge(&self, batch: PurgeBatch) -> Result<(), PurgeError> {
        // The nodes of a cluster have the same log.
        if self.lease.is_some() {
            return self.purge_log.append(batch).await;
        }
        if !self.successor.is_there() {
            let purged = self.purge_log.append(batch.clone()).await;
            if purged.is_ok() || !self.successor.is_there() {
                return purged;
            }
        }
        self.successor.purge(batch).await
    }

    /// Whether stored responses may be used without validation.
    pub(crate) fn may_reuse(&self) -> bool {
        !self.is_distrusted.load(Ordering::Relaxed) && self.has_lease()
    }

    fn has_lease(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.is_optional || lease.is_held())
    }

    /// The detail of a hit that may have been purged, because this node is cut off from its cluster.
    pub(crate) fn reuse_detail(&self) -> Option<&'static str> {
        let lease = self.lease.as_ref()?;
        (lease.is_optional && !lease.is_held()).then_some("cut-off")
    }

    /// Invalidates the stored responses of one path, in its generous reading, because an unsafe request for
    /// it succeeded (RFC 9111 §4.4). In force when this returns. Not in the log: a crash within about a second may
    /// undo it.
    pub fn invalidate(&self, distribution: &str, path: &str) {
        self.invalidate_by(ServedBy::Own, distribution, path);
    }

    /// The same for a request that `served_by` has served.
    pub(crate) fn invalidate_by(&self, served_by: ServedBy, distribution: &str, path: &str) {
        let number = self.floors.invalidate(distribution, path);
        if self.invalidated.receiver_count() > 0 {
            let (distribution, path) = (distribution.into(), path.into());
            // The other processes may just have ended.
            let _ = self.invalidated.send(LateInvalidation { served_by, distribution, path });
        }
        if let Some(disk) = &self.disk {
            disk.note(disk_record::of_invalidation(distribution, path, number));
        }
    }

    /// Whether an unsafe request through this node has invalidated the path, or may have.
    pub(crate) fn was_invalidated(&self, distribution: &str, path: &str) -> bool {
        self.floors.was_invalidated(distribution, path)
    }

    /// Marks a stored response as stale, unless another has replaced it.
    pub fn expire(&self, key: &CacheKey, response: &Arc<StoredResponse>) {
        let _lock = self.lock_key(self.memory.digest_of(key));
        self.forget_on_disk(key);
        let stale = Arc::new(response.expired(response.mark));
        self.memory.replace(key, response, stale);
    }
}
