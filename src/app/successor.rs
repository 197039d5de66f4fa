//! The process that replaces this one.

use std::{collections::HashMap, io, sync::Arc, thread::Builder};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    cache::store::{ForSuccessor, Store},
    handover::{Channel, Message, Received},
    proxy::Edge,
};

/// The process that replaces this one.
pub struct Successor {
    /// The number of the process.
    pub process: u32,
    /// Its version of Forebay.
    pub version: String,
    channel: Channel,
    edge: Arc<Edge>,
    /// The newest invalidation that it knows.
    known: u64,
    /// Whether it still sends its purges.
    is_there: watch::Sender<bool>,
}

impl Successor {
    /// A process that serves from now on, and that knows the invalidations up to a number.
    pub(super) fn new(
        channel: Channel,
        process: u32,
        version: String,
        known: u64,
        edge: &Arc<Edge>,
    ) -> Self {
        let is_there = watch::Sender::new(true);
        Self { process, version, channel, edge: Arc::clone(edge), known, is_there }
    }

    /// Applies its purges, and sends it those of operators that are still connected to this process.
    pub(super) fn follow(self, of_operators: mpsc::Receiver<ForSuccessor>) -> io::Result<Self> {
        self.channel.set_patience(None)?;
        let unanswered = Arc::new(Mutex::new(Some(HashMap::new())));
        let thread = || Builder::new().name("forebay-upgrade".into());
        let (channel, waiting) = (self.channel.clone(), Arc::clone(&unanswered));
        thread().spawn(move || send_purges(&channel, of_operators, &waiting))?;
        let (channel, store) = (self.channel.clone(), Arc::clone(self.edge.store()));
        let is_there = self.is_there.clone();
        thread().spawn(move || {
            listen(&channel, &store, &unanswered);
            is_there.send_replace(false);
        })?;
        Ok(self)
    }

    /// Returns when the process no longer sends its purges: it has ended, or was replaced.
    pub(super) async fn gone(&self) {
        // This end of it lives as long as `self`.
        let _ = self.is_there.subscribe().wait_for(|is_there| !is_there).await;
    }

    /// Sends the invalidations by unsafe requests that this process has served since the last call.
    pub(super) fn send_invalidations(&mut self) {
        let (newest, late) = self.edge.store().floors().invalidations_above(self.known);
        self.known = newest;
        if !late.is_empty() {
            // If the process has ended, nobody needs them.
            let _ = self.channel.send(&Message::Invalidations(late));
        }
    }
}

/// Where the outcomes of purges go, by number. `None` once the other process has ended.
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
fn listen(channel: &Channel, store: &Store, unanswered: &Unanswered) {
    while let Ok(Received { message, .. }) = channel.receive() {
        match message {
            Message::Purges(purges) => {
                store.apply(&purges);
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
            _ => break,
        }
    }
    store.distrust();
    *unanswered.lock() = None;
}
