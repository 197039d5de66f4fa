//! The process that replaces this one.

use std::{collections::HashMap, sync::Arc, thread::Builder};

use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::{
    runtime::Handle,
    sync::{broadcast, mpsc, oneshot},
};

use super::{late_invalidations::LateInvalidations, signal::send_signal};
use crate::{
    cache::store::{ForSuccessor, LateInvalidation, ServedBy, Store},
    handover::{Channel, Message, Received},
};

/// The process that replaces this one.
#[derive(Clone, Debug)]
pub struct Successor {
    /// Its process ID.
    pub process: u32,
    /// Its version of Forebay.
    pub version: String,
}

impl Successor {
    /// Applies the purges and invalidations of the process, and sends it those that arrive here: of the latter, those that
    /// `invalidated` receives. Must be called within a runtime.
    pub(super) fn follow(
        channel: &Channel,
        invalidated: broadcast::Receiver<LateInvalidation>,
        store: &Arc<Store>,
        of_operators: mpsc::Receiver<ForSuccessor>,
    ) -> LateInvalidations {
        let unanswered = Arc::new(Mutex::new(Some(HashMap::new())));
        let thread = || Builder::new().name("forebay-upgrade".into());
        let (sending, waiting) = (channel.clone(), Arc::clone(&unanswered));
        let sender = thread().spawn(move || send_purges(&sending, of_operators, &waiting));
        let (reading, of_thread) = (channel.clone(), Arc::clone(store));
        let runtime = Handle::current();
        let listener = thread().spawn(move || listen(&reading, &of_thread, &unanswered, &runtime));
        if let Err(error) = sender.and(listener) {
            tracing::error!(%error, "nothing stored is used any more, because purges cannot be received");
            channel.close();
            store.distrust();
        }
        LateInvalidations::send(invalidated, channel.clone(), ServedBy::Successor)
    }

    /// Sends a signal to the process.
    pub fn send(&self, signal: Signal) {
        send_signal(self.process, signal);
    }
}

/// Callers that wait for the outcomes of purges, by number. `None` once the other process has ended.
type Unanswered = Mutex<Option<HashMap<u64, oneshot::Sender<Result<(), String>>>>>;

/// Sends purges of operators until the other process has ended.
fn send_purges(
    channel: &Channel,
    mut purges: mpsc::Receiver<ForSuccessor>,
    unanswered: &Unanswered,
) {
    let mut number = 0;
    while let Some((batch, outcome)) = purges.blocking_recv() {
        number += 1;
        match &mut *unanswered.lock() {
            Some(unanswered) => drop(unanswered.insert(number, outcome)),
            None => return,
        }
        if channel.send(&Message::Purge { number, batch }).is_err() {
            // The other thread sees it, too.
            return;
        }
    }
}

/// Applies purges and confirms them, and reads the outcomes of others, until the other process has ended. After that,
/// nothing that is stored here may be used.
fn listen(channel: &Channel, store: &Store, unanswered: &Unanswered, runtime: &Handle) {
    while let Ok(Received { message, .. }) = channel.receive() {
        match message {
            Message::Purges(purges) => {
                runtime.block_on(store.apply_of_successor(&purges));
                if channel.send(&Message::Applied).is_err() {
                    break;
                }
            }
            Message::Purged { number, outcome } => {
                let waiting =
                    unanswered.lock().as_mut().and_then(|waiting| waiting.remove(&number));
                if let Some(waiting) = waiting {
                    // The caller may have been canceled.
                    let _ = waiting.send(outcome);
                }
            }
            Message::Invalidation { distribution, path } => {
                store.invalidate_by(ServedBy::Successor, &distribution, &path);
            }
            _ => break,
        }
    }
    store.distrust();
    // The other process no longer waits for confirmations.
    channel.close();
    *unanswered.lock() = None;
}
