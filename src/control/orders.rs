//! What an operator orders through the admin listener, and the program carries out.

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{reloaded::ReloadOutcome, upgraded::UpgradeOutcome};

/// Orders that wait for their turn. Further ones wait for a place.
const WAITING: usize = 8;

/// An order, and where its outcome goes.
#[derive(Debug)]
pub(crate) enum Order {
    /// Load the configuration again.
    Reload(oneshot::Sender<ReloadOutcome>),
    /// Replace this process by a new one.
    Upgrade(oneshot::Sender<UpgradeOutcome>),
}

/// Orders on their way to the program.
#[derive(Debug)]
pub(super) struct Orders {
    sender: mpsc::Sender<Order>,
    receiver: Mutex<Option<mpsc::Receiver<Order>>>,
}

impl Orders {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// The orders to carry out; `None` after the first call.
    pub(super) fn take(&self) -> Option<mpsc::Receiver<Order>> {
        self.receiver.lock().take()
    }

    /// Gives an order and waits for its outcome; `None` if the program does not carry out orders.
    pub(super) async fn give<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Option<T> {
        // A program that embeds Forebay need not carry them out.
        if self.receiver.lock().is_some() {
            return None;
        }
        let (sender, outcome) = oneshot::channel();
        self.sender.send(order(sender)).await.ok()?;
        outcome.await.ok()
    }
}
