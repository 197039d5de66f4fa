//! The process that this one has replaced, while it serves its last requests.

use tokio::sync::oneshot;

use super::late_invalidations::LateInvalidations;

/// The process that this one has replaced, while it serves its last requests.
#[derive(Debug)]
pub(super) struct Replaced {
    /// Ends when this is dropped.
    pub(super) _invalidations: LateInvalidations,
    /// Closed by the thread that reads its messages.
    pub(super) end: oneshot::Receiver<()>,
}

impl Replaced {
    /// Waits until the process has ended, and all that it reported is known here.
    pub(super) async fn ended(self) {
        // Nothing is sent.
        let _ = self.end.await;
    }
}
