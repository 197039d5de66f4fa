//! The end of a listener: stop accepting, finish requests, close connections. Also how one process leaves its listeners
//! to the next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

/// What listeners and connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Viewers that connect wait in the system's queue.
    Waiting,
    Serving,
    /// Another process accepts the connections now. Those of this process end after their next response.
    HandedOver,
    /// No process accepts connections. Those that are idle are closed.
    Draining,
    /// The same, but another process accepts connections.
    DrainingHandedOver,
}

/// Starts the drain and waits until it ends.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
    closing: Closing,
}

/// Reports when the drain begins. The drain ends when all signals are dropped.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    phase: watch::Receiver<Phase>,
    closing: Closing,
}

/// What a listener does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepting {
    /// It leaves viewers in the system's queue.
    Later,
    /// It accepts connections.
    Now,
    /// It closes its handle of the socket. Another process accepts connections, or will.
    Elsewhere,
    /// It accepts what is in the system's queue, then closes its socket.
    TheRest,
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
    /// A drain that has not begun, and its signal. Until [`Self::serve`] is called, no connections are accepted.
    #[must_use]
    pub(crate) fn new() -> (Self, DrainSignal) {
        let (sender, receiver) = watch::channel(Phase::Waiting);
        let closing = Closing::default();
        let signal = DrainSignal { phase: receiver, closing: closing.clone() };
        (Self { phase: sender, closing }, signal)
    }

    /// Accepts connections.
    pub(crate) fn serve(&self) {
        self.phase.send_replace(Phase::Serving);
    }

    /// Leaves the sockets to another process, which has them, too. Open connections end after their next response.
    pub(crate) fn hand_over(&self) {
        self.announce();
        self.phase.send_replace(Phase::HandedOver);
    }

    /// Makes HTTP/1.1 connections close with their next response, so that viewers connect elsewhere.
    pub(crate) fn announce(&self) {
        self.closing.0.store(true, Ordering::Relaxed);
    }

    /// Stops accepting connections; open ones finish.
    pub(crate) fn begin(&self) {
        self.announce();
        self.phase.send_modify(|phase| {
            *phase = match phase {
                Phase::HandedOver | Phase::DrainingHandedOver => Phase::DrainingHandedOver,
                Phase::Waiting | Phase::Serving | Phase::Draining => Phase::Draining,
            };
        });
    }

    /// Waits until all work is done; `false` if that takes longer than `patience`.
    pub(crate) async fn finished(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.phase.closed()).await.is_ok()
    }
}

impl DrainSignal {
    /// Returns when the drain has begun. Cancel-safe.
    pub async fn begun(&mut self) {
        self.reached(Phase::Draining).await;
    }

    /// Returns when this process no longer accepts connections, because another one does or the drain has begun.
    /// Cancel-safe.
    pub(super) async fn left(&mut self) {
        self.reached(Phase::HandedOver).await;
    }

    async fn reached(&mut self, expected: Phase) {
        // If the `Drain` is dropped, treat it as begun.
        let _ = self.phase.wait_for(|phase| *phase >= expected).await;
    }

    /// What a listener does now.
    pub(super) fn accepting(&mut self) -> Accepting {
        let is_dropped = self.phase.has_changed().is_err();
        match *self.phase.borrow_and_update() {
            // This process has accepted nothing yet.
            Phase::Waiting if is_dropped => Accepting::Elsewhere,
            Phase::Serving if is_dropped => Accepting::TheRest,
            Phase::Waiting => Accepting::Later,
            Phase::Serving => Accepting::Now,
            Phase::HandedOver | Phase::DrainingHandedOver => Accepting::Elsewhere,
            Phase::Draining => Accepting::TheRest,
        }
    }

    /// Returns when [`Self::accepting`] may have another result. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        // If the `Drain` is dropped, `accepting` sees it.
        let _ = self.phase.changed().await;
    }

    /// Whether connections close with their next response. Holding one does not delay the drain.
    #[must_use]
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }
}
