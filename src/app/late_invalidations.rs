//! Invalidations by unsafe requests, while two processes serve.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::{
    cache::store::Store,
    handover::{Channel, Message},
};

/// Sends invalidations above the number `known` as they happen, until the other process has ended.
pub(super) async fn send_invalidations(store: Arc<Store>, channel: Channel, mut known: u64) {
    let mut invalidated = store.invalidated();
    // Those since the number was read.
    invalidated.mark_changed();
    while invalidated.changed().await.is_ok() {
        let (newest, late) = store.floors().invalidations_above(known);
        known = newest;
        if late.is_empty() {
            continue;
        }
        let sending = channel.clone();
        let sent = spawn_blocking(move || sending.send(&Message::Invalidations(late))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}
