//! The process that this one has replaced, while it serves its last requests.

use rustix::process::Signal;
use tokio::sync::oneshot;

use super::{late_invalidations::LateInvalidations, signal::send_signal};

/// The process that this one has replaced, while it serves its last requests.
#[derive(Debug)]
pub(super) struct Replaced {
    /// Ends when this is dropped.
    pub(super) _invalidations: LateInvalidations,
    /// Closed by the thread that reads its messages.
    pub(super) end: oneshot::Receiver<()>,
    /// Its process ID.
    pub(super) process: u32,
}

impl Replaced {
    /// Stops the process, which then has `listen.drain` for its last requests.
    pub(super) fn stop(mut self) {
        // The number of a process that has ended may belong to another one.
        if self.end.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            send_signal(self.process, Signal::TERM);
        }
    }

    /// Waits until the process has ended, and all that it reported is known here.
    pub(super) async fn ended(&mut self) {
        // Nothing is sent.
        let _ = (&mut self.end).await;
    }
}
