//! Invalidations by unsafe requests, while two processes serve.

use tokio::{sync::broadcast, task::spawn_blocking};

use crate::{
    cache::store::{LateInvalidation, ServedBy},
    handover::{Channel, Message},
};

/// Sends invalidations to another process as they happen, except for those that came from there. Ends with that process.
pub(super) async fn send_invalidations(
    mut invalidated: broadcast::Receiver<LateInvalidation>,
    channel: Channel,
    to: ServedBy,
) {
    loop {
        let late = match invalidated.recv().await {
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
