//! The process that this one replaced, while it still serves its last requests.

use std::{fmt, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::purge_entry::PurgeEntry;

/// How long a predecessor may take to apply purges. After that, it is killed: it could serve what was purged. Each process
/// of a chain waits for less, so that the one that hangs is killed, and not one that waits for it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const TIMEOUT_IN_CHAIN: Duration = Duration::from_secs(4);

/// Entries for a predecessor, and where its confirmation goes.
pub(crate) type ForPredecessor = (Vec<PurgeEntry>, oneshot::Sender<()>);

/// The way to the process that this one replaced.
#[derive(Clone)]
pub(crate) struct Predecessor {
    sender: mpsc::Sender<ForPredecessor>,
    /// Kills the process.
    kill: fn(u32),
    process: u32,
}

impl fmt::Debug for Predecessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Predecessor").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Predecessor {
    /// A process that receives entries from `sender`.
    pub(crate) const fn new(
        sender: mpsc::Sender<ForPredecessor>,
        process: u32,
        kill: fn(u32),
    ) -> Self {
        Self { sender, kill, process }
    }

    /// Sends entries. The receiver ends once the process has applied them, or has ended.
    pub(super) async fn send(&self, entries: Vec<PurgeEntry>) -> oneshot::Receiver<()> {
        let (confirm, confirmed) = oneshot::channel();
        // A process that has ended serves nothing any more.
        let _ = self.sender.send((entries, confirm)).await;
        confirmed
    }

    /// Waits for a confirmation, but not for ever.
    pub(super) async fn confirmed(&self, mut confirmed: oneshot::Receiver<()>, limit: Duration) {
        if timeout(limit, &mut confirmed).await.is_err() {
            let process = self.process;
            tracing::error!(process, "the replaced process does not apply purges and is killed");
            (self.kill)(process);
            // An error means that it has ended.
            let _ = confirmed.await;
        }
    }
}
