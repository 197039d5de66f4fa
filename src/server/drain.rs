//! Graceful shutdown: stop accepting, finish requests, close connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

/// Starts the drain and waits until it ends.
#[derive(Debug)]
pub(crate) struct Drain {
    begun: watch::Sender<bool>,
    closing: Closing,
}

/// Reports when the drain begins. The drain ends when all signals are dropped.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    begun: watch::Receiver<bool>,
    closing: Closing,
}

/// Whether each connection closes with its next response.
#[derive(Clone, Debug, Default)]
pub struct Closing(Arc<AtomicBool>);

impl Closing {
    /// One atomic load: this is on the hit path.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drain {
    /// A drain that has not begun, and its signal.
    #[must_use]
    pub(crate) fn new() -> (Self, DrainSignal) {
        let (sender, receiver) = watch::channel(false);
        let closing = Closing::default();
        let signal = DrainSignal { begun: receiver, closing: closing.clone() };
        (Self { begun: sender, closing }, signal)
    }

    /// Makes HTTP/1.1 connections close with their next response, so that viewers connect elsewhere.
    pub(crate) fn announce(&self) {
        self.closing.0.store(true, Ordering::Relaxed);
    }

    /// Stops accepting connections; open ones finish.
    pub(crate) fn begin(&self) {
        self.announce();
        self.begun.send_replace(true);
    }

    /// Waits until all work is done; `false` if that takes longer than `patience`.
    pub(crate) async fn finished(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.begun.closed()).await.is_ok()
    }
}

impl DrainSignal {
    /// Returns when the drain has begun. Cancel-safe.
    pub async fn begun(&mut self) {
        // If the `Drain` is dropped, treat it as begun.
        let _ = self.begun.wait_for(|begun| *begun).await;
    }

    /// Whether connections close with their next response. Holding one does not delay the drain.
    #[must_use]
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }
}
