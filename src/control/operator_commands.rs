//! Commands of operators that the admin listener receives and the program carries out.

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{reloaded::ReloadOutcome, upgraded::UpgradeOutcome};

/// OperatorCommands that wait for their turn. Further ones wait for a place.
const WAITING: usize = 8;

/// A command, and where its outcome goes.
#[derive(Debug)]
pub(crate) enum OperatorCommand {
    /// Load the configuration again.
    Reload(oneshot::Sender<ReloadOutcome>),
    /// Replace this process by a new one.
    Upgrade(oneshot::Sender<UpgradeOutcome>),
}

/// OperatorCommands on their way to the program.
#[derive(Debug)]
pub(super) struct OperatorCommands {
    sender: mpsc::Sender<OperatorCommand>,
    receiver: Mutex<Option<mpsc::Receiver<OperatorCommand>>>,
}

impl OperatorCommands {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// The commands to carry out; `None` after the first call.
    pub(super) fn take(&self) -> Option<mpsc::Receiver<OperatorCommand>> {
        self.receiver.lock().take()
    }

    /// Requests a command and waits for its outcome; `None` if the program does not carry out commands.
    pub(super) async fn request<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> OperatorCommand,
    ) -> Option<T> {
        // A program that embeds Forebay need not carry them out.
        if self.receiver.lock().is_some() {
            return None;
        }
        let (sender, outcome) = oneshot::channel();
        self.sender.send(command(sender)).await.ok()?;
        outcome.await.ok()
    }
}
