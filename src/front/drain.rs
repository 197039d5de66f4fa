//! The end: no new connections, those under way finish.

use std::time::Duration;

use tokio::sync::watch;

/// Starts the drain and waits for its end.
#[derive(Debug)]
pub struct Drain(watch::Sender<bool>);

/// Tells when the drain begins. Whoever holds one counts as still under way.
#[derive(Clone, Debug)]
pub struct DrainSignal(watch::Receiver<bool>);

impl Drain {
    /// A drain that has not begun, and its signal.
    #[must_use]
    pub fn new() -> (Self, DrainSignal) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), DrainSignal(receiver))
    }

    /// Tells everybody to finish.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Waits until nobody is under way; false when that takes longer than `patience`.
    pub async fn finished(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.0.closed()).await.is_ok()
    }
}

impl DrainSignal {
    /// Returns when the drain has begun. Cancel-safe.
    pub async fn begun(&mut self) {
        // A drain that is gone without a word has nothing left to wait for either.
        let _ = self.0.wait_for(|begun| *begun).await;
    }
}
