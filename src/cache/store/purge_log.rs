//! The log of purges.

use std::{io, sync::Arc};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::{
    purge::{Purge, PurgeMode},
    purge_floors::PurgeFloors,
    purge_mark::LogPosition,
};

/// Purges of one distribution, requested together.
#[derive(Clone, Debug)]
pub struct PurgeBatch {
    /// The id of the distribution.
    pub distribution: String,
    /// The purges.
    pub purges: Vec<Purge>,
    /// Their effect.
    pub mode: PurgeMode,
}

/// The reason a purge is not in force.
#[derive(Debug, thiserror::Error)]
#[error("the purge log cannot be written: {0}")]
pub struct PurgeError(#[from] io::Error);

impl PurgeError {
    pub(super) fn is_disk_full(&self) -> bool {
        self.0.kind() == io::ErrorKind::StorageFull
    }
}

/// The ordered log of purges. It assigns each entry its position, makes it as durable as the log
/// promises, and applies it to the [`PurgeFloors`] of its store, in order.
///
/// [`MemoryPurgeLog`] is enough for a cache that is empty after a restart. A disk tier keeps the log in
/// a file and applies its entries when it is opened. A cluster keeps it in a stream of NATS JetStream,
/// whose sequence numbers are the positions, and applies the entries of all nodes as they arrive.
pub(crate) trait PurgeLog: std::fmt::Debug + Send + Sync {
    /// Appends purges. Resolves when they are durable and in force, with the position of the last one.
    fn append(&self, batch: PurgeBatch) -> BoxFuture<'_, Result<LogPosition, PurgeError>>;

    /// Writes what was appended, and nothing after that. Blocks until that is done.
    fn close(&self) {}
}

/// A log that does not outlive the process.
#[derive(Debug)]
pub(crate) struct MemoryPurgeLog {
    newest: Mutex<LogPosition>,
    floors: Arc<PurgeFloors>,
}

impl MemoryPurgeLog {
    /// An empty log of an epoch.
    #[must_use]
    pub(crate) const fn new(epoch: u16, floors: Arc<PurgeFloors>) -> Self {
        Self { newest: Mutex::new(LogPosition::new(epoch, 0)), floors }
    }
}

impl PurgeLog for MemoryPurgeLog {
    fn append(&self, batch: PurgeBatch) -> BoxFuture<'_, Result<LogPosition, PurgeError>> {
        Box::pin(async move {
            // Held while they are applied: floors require entries in order.
            let mut newest = self.newest.lock();
            for purge in &batch.purges {
                *newest = newest.next();
                self.floors.apply(*newest, &batch.distribution, purge, batch.mode);
            }
            Ok(*newest)
        })
    }
}
