//! The log of purges.

use std::{
    fmt::{self, Debug},
    io,
    sync::Arc,
};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    purge::{Purge, PurgeMode},
    purge_entry::{PurgeChange, PurgeEntry},
    purge_floors::PurgeFloors,
    purge_journal::PurgeJournal,
    purge_lease::PurgeLease,
    purge_mark::LogPosition,
};

/// Purges of one distribution, requested together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PurgeBatch {
    /// The id of the distribution.
    pub distribution: String,
    /// The purges.
    pub purges: Vec<Purge>,
    /// Their effect.
    pub mode: PurgeMode,
}

impl PurgeBatch {
    /// The purges as changes.
    pub(crate) fn changes(&self) -> impl Iterator<Item = PurgeChange> {
        self.purges.iter().map(|purge| PurgeChange::Purge {
            distribution: self.distribution.as_str().into(),
            purge: purge.clone(),
            mode: self.mode,
        })
    }
}

/// The reason a purge is not in force.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// This node cannot write it.
    #[error("the purge log cannot be written: {0}")]
    Journal(#[from] io::Error),
    /// The stream of the cluster cannot be written.
    #[error("the stream of the cluster cannot be written ({0})")]
    Cluster(String),
    /// The process that has taken over did not confirm it.
    #[error("the process that has taken over did not confirm it ({0})")]
    Successor(String),
    /// It is in the stream of the cluster.
    #[error("the purge will take effect, but some nodes may not have applied it yet")]
    Unconfirmed,
}

impl PurgeError {
    fn is_disk_full(&self) -> bool {
        matches!(self, Self::Journal(error) if error.kind() == io::ErrorKind::StorageFull)
    }
}

/// The ordered log of purges, which gives each entry its position.
///
/// A single node has a [`LocalPurgeLog`]. A cluster's log is a stream of NATS JetStream, whose sequence numbers are the
/// positions, and which has the entries of all nodes.
pub(crate) trait PurgeLog: Debug + Send + Sync {
    /// Appends purges. Resolves when they are durable and in force on all nodes.
    fn append(&self, batch: PurgeBatch) -> BoxFuture<'_, Result<(), PurgeError>>;

    /// The lease without which stored responses must be validated. `None` if this node makes all purges.
    fn lease(&self) -> Option<Arc<PurgeLease>> {
        None
    }
}

/// The log of a single node.
pub(crate) struct LocalPurgeLog {
    newest: Mutex<LogPosition>,
    floors: Arc<PurgeFloors>,
    journal: Arc<dyn PurgeJournal>,
    /// Held while stored responses give way to the journal.
    making_space: Mutex<()>,
}

impl LocalPurgeLog {
    /// A log whose entries follow `newest`.
    pub(crate) fn new(
        newest: LogPosition,
        floors: Arc<PurgeFloors>,
        journal: Arc<dyn PurgeJournal>,
    ) -> Self {
        Self { newest: Mutex::new(newest), floors, journal, making_space: Mutex::default() }
    }

    async fn write(&self, batch: &PurgeBatch) -> Result<(), PurgeError> {
        let applied = {
            // Held until the journal has the entries in their order.
            let mut newest = self.newest.lock().await;
            // A process that was to replace this one may have had purges, too.
            *newest = self.floors.newest().max(*newest);
            let entries = batch.changes().map(|change| {
                *newest = newest.next();
                PurgeEntry { position: *newest, change }
            });
            let entries = entries.collect();
            self.journal.add(entries).await
        };
        Ok(applied.await?)
    }

    async fn append(&self, batch: PurgeBatch) -> Result<(), PurgeError> {
        match self.write(&batch).await {
            Err(error) if error.is_disk_full() => {}
            written => return written,
        }
        // One at a time: the space of one file is enough for many purges.
        let _making = self.making_space.lock().await;
        loop {
            match self.write(&batch).await {
                Err(error) if error.is_disk_full() && self.journal.make_space().await => {}
                written => return written,
            }
        }
    }
}

impl Debug for LocalPurgeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPurgeLog").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl PurgeLog for LocalPurgeLog {
    fn append(&self, batch: PurgeBatch) -> BoxFuture<'_, Result<(), PurgeError>> {
        Box::pin(self.append(batch))
    }
}
