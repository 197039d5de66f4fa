//! What a node keeps of the log of purges.

use std::{future, io, sync::Arc};

use futures_util::future::BoxFuture;

use super::{purge_entry::PurgeEntry, purge_floors::PurgeFloors};

/// Resolves when entries are as durable as their journal makes them, and in force.
pub(crate) type Applied = BoxFuture<'static, io::Result<()>>;

/// The entries of the log of purges that this node knows. They are added in the order of their positions, by
/// [`LocalPurgeLog`](super::purge_log::LocalPurgeLog), or a cluster, whose stream numbers the entries of all nodes.
pub(crate) trait PurgeJournal: std::fmt::Debug + Send + Sync {
    /// Adds entries. They have their place in the order once this resolves.
    fn add(&self, entries: Vec<PurgeEntry>) -> BoxFuture<'_, Applied>;

    /// Removes stored responses because the journal needs their space. False if there are none.
    fn make_space(&self) -> BoxFuture<'_, bool> {
        Box::pin(future::ready(false))
    }

    /// Writes what was added, and nothing after that. Blocks until that is done.
    fn close(&self) {}

    /// Begins a new file with the next entry, because another process may have written to this one.
    fn replace_file(&self) {}
}

/// A journal that does not outlive the process.
#[derive(Debug)]
pub(crate) struct MemoryPurgeJournal(pub(crate) Arc<PurgeFloors>);

impl PurgeJournal for MemoryPurgeJournal {
    fn add(&self, entries: Vec<PurgeEntry>) -> BoxFuture<'_, Applied> {
        for entry in &entries {
            self.0.apply(entry);
        }
        Box::pin(future::ready(Box::pin(future::ready(Ok(()))) as Applied))
    }
}
