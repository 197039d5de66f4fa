//! Invalidations by unsafe requests, while two processes serve.

use tokio::{
    sync::{broadcast, oneshot},
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    cache::store::{LateInvalidation, ServedBy},
    handover::{Channel, Message},
};

/// A task that sends invalidations to another process as they happen, except for those that came from there. Ends with
/// that process.
#[derive(Debug)]
pub(super) struct LateInvalidations {
    task: JoinHandle<()>,
    /// Dropped when there will be no more.
    end: oneshot::Sender<()>,
}

impl LateInvalidations {
    /// Sends those that `invalidated` receives. Must be called within a runtime.
    pub(super) fn send(
        invalidated: broadcast::Receiver<LateInvalidation>,
        channel: Channel,
        to: ServedBy,
    ) -> Self {
        let (end, ended) = oneshot::channel();
        Self { task: tokio::spawn(send_until(ended, invalidated, channel, to)), end }
    }

    /// Sends those that have happened, and no more.
    pub(super) async fn finish(self) {
        drop(self.end);
        // A panic is in the log.
        let _ = self.task.await;
    }
}

async fn send_until(
    mut ended: oneshot::Receiver<()>,
    mut invalidated: broadcast::Receiver<LateInvalidation>,
    channel: Channel,
    to: ServedBy,
) {
    loop {
        let received = tokio::select! {
            biased;
            received = invalidated.recv() => received,
            _ = &mut ended => return,
        };
        let late = match received {
            Ok(late) if late.served_by == to => continue,
            Ok(late) => late,
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::error!(
                    lost,
                    "invalidations by unsafe requests do not reach the other process in time"
                );
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let message = Message::Invalidation {
            distribution: late.distribution.as_ref().to_owned(),
            path: late.path.as_ref().to_owned(),
        };
        let sending = channel.clone();
        let sent = spawn_blocking(move || sending.send(&message)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}
