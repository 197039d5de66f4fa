//! Purges that arrive after another process has taken over.

use std::sync::OnceLock;

use tokio::sync::{mpsc, oneshot};

use super::purge_log::{PurgeBatch, PurgeError};

/// A purge for the next process, and where its outcome goes.
pub(crate) type ForSuccessor = (PurgeBatch, oneshot::Sender<Result<(), String>>);

/// The way to the process that has taken over, if one has.
#[derive(Debug, Default)]
pub(super) struct Successor(OnceLock<mpsc::Sender<ForSuccessor>>);

impl Successor {
    pub(super) fn set(&self, sender: mpsc::Sender<ForSuccessor>) {
        // A process has one successor.
        let _ = self.0.set(sender);
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.get().is_some()
    }

    /// Purges in the next process, which makes this one apply the purge, too.
    pub(super) async fn purge(&self, batch: PurgeBatch) -> Result<(), PurgeError> {
        let (sender, outcome) = oneshot::channel();
        if let Some(successor) = self.0.get() {
            // One that has ended drops the sender of the outcome.
            let _ = successor.send((batch, sender)).await;
        }
        let outcome = outcome.await.unwrap_or_else(|_| Err("it has ended".to_owned()));
        outcome.map_err(PurgeError::Successor)
    }
}
