//! The process that this one replaces.

use std::{
    cell::Cell, collections::VecDeque, io, os::unix::process::parent_id, sync::Arc,
    thread::Builder, time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    agreement::{VARIABLE, contents_of},
    last_state::LastState,
    late_invalidations::LateInvalidations,
    replaced::Replaced,
    signal::send_signal,
};
use crate::{
    cache::store::{self, ForPredecessor, MemoryRecord, ServedBy, Store, StoreIdentity},
    config::Config,
    handover::{Channel, Hello, Message, PROTOCOL, Received, unexpected},
    server::{InheritedSockets, Listener},
};

/// The longest wait for the other process, which may be busy.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Purges that wait for the other process. Further ones wait for a place.
const WAITING: usize = 64;

/// The process that this one replaces.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    process: u32,
    /// Whether it could answer all requests.
    is_ready: Cell<bool>,
}

impl Predecessor {
    /// The process that started this one to replace it, if there is one.
    ///
    /// # Errors
    /// If this process was not started by another one, although the environment says so.
    pub fn of_environment() -> io::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let channel = Channel::of_standard_input()?;
        channel.set_timeout(Some(TIMEOUT))?;
        Ok(Some(Self { channel, process: parent_id(), is_ready: Cell::new(false) }))
    }

    /// Reports the reason why this process cannot start. The other one continues.
    pub fn failed(&self, reason: &str) {
        // The other process may have ended.
        let _ = self.channel.send(&Message::Failed(reason.to_owned()));
    }

    /// Whether the process could answer all requests.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.is_ready.get()
    }

    /// Takes over the contents of the other process's memory. `make` makes a store for them.
    pub(super) fn take_contents(
        &self,
        config: &Config,
        make: impl FnOnce(StoreIdentity) -> Option<Store>,
    ) -> io::Result<Option<Store>> {
        self.channel.send(&Message::Hello(Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            contents: contents_of(config),
            memory: config.cache.memory,
        }))?;
        let Message::Contents { identity, is_ready } = self.channel.receive()?.message else {
            return Err(unexpected());
        };
        self.is_ready.set(is_ready);
        let store = identity.and_then(make);
        loop {
            let Received { message, bytes, .. } = self.channel.receive()?;
            match message {
                Message::Record { kind, digest, description } => {
                    let mut body = Bytes::from(bytes);
                    if description > body.len() {
                        return Err(unexpected());
                    }
                    let description = body.split_to(description);
                    if let Some(store) = &store {
                        store.take_record(MemoryRecord { kind, digest, description, body });
                    }
                }
                Message::EndOfContents => return Ok(store),
                _ => return Err(unexpected()),
            }
        }
    }

    /// Takes over the listening sockets, the disk cache and the state directory.
    pub(super) fn take_over(&self, sockets: &InheritedSockets) -> io::Result<LastState> {
        self.channel.send(&Message::Prepared)?;
        loop {
            let Received { message, fds, .. } = self.channel.receive()?;
            match message {
                Message::Listener { address, is_kept } => {
                    for socket in fds {
                        sockets.add(address, Listener { socket: socket.into(), is_kept });
                    }
                }
                Message::State { identity, purges, invalidations } => {
                    return Ok(LastState { identity, purges, invalidations });
                }
                _ => return Err(unexpected()),
            }
        }
    }

    /// Sends purges and invalidations from now on to the other process, and takes over those that it still gets. Must be
    /// called within a runtime.
    pub(super) fn follow(&self, store: &Arc<Store>) -> io::Result<Replaced> {
        self.channel.set_timeout(None)?;
        let (sender, purges) = mpsc::channel(WAITING);
        let unconfirmed = Arc::new(Mutex::new(Some(VecDeque::new())));
        let thread = || Builder::new().name("forebay-upgrade".into());
        let (channel, waiting) = (self.channel.clone(), Arc::clone(&unconfirmed));
        thread().spawn(move || send(&channel, purges, &waiting))?;
        let (channel, of_thread, runtime) =
            (self.channel.clone(), Arc::clone(store), Handle::current());
        let (ended, end) = oneshot::channel::<()>();
        thread().spawn(move || {
            listen(&channel, &unconfirmed, &of_thread, &runtime);
            drop(ended);
        })?;
        let (invalidated, channel) = (store.invalidated(), self.channel.clone());
        let invalidations = LateInvalidations::send(invalidated, channel, ServedBy::Predecessor);
        let kill = |process| send_signal(process, Signal::KILL);
        store.set_predecessor(store::Predecessor::new(sender, self.process, kill));
        Ok(Replaced { _invalidations: invalidations, end, process: self.process })
    }

    /// Reports that this process accepts all connections from now on.
    pub(super) fn replaced(&self) -> io::Result<()> {
        self.channel.send(&Message::Ready)
    }
}

/// Confirmations that are awaited from the other process, in their order. `None` once it has ended.
type Unconfirmed = Mutex<Option<VecDeque<oneshot::Sender<()>>>>;

/// Sends purges until the other process has ended.
fn send(channel: &Channel, mut purges: mpsc::Receiver<ForPredecessor>, unconfirmed: &Unconfirmed) {
    while let Some((entries, confirm)) = purges.blocking_recv() {
        match &mut *unconfirmed.lock() {
            Some(unconfirmed) => unconfirmed.push_back(confirm),
            None => return,
        }
        if channel.send(&Message::Purges(entries)).is_err() {
            // The other thread sees it, too.
            return;
        }
    }
}

/// Reads confirmations, purges and invalidations until the other process has ended.
fn listen(channel: &Channel, unconfirmed: &Unconfirmed, store: &Arc<Store>, runtime: &Handle) {
    while let Ok(Received { message, .. }) = channel.receive() {
        match message {
            Message::Applied => {
                let confirmed = unconfirmed.lock().as_mut().and_then(VecDeque::pop_front);
                if let Some(confirmed) = confirmed {
                    // The caller may have been canceled.
                    let _ = confirmed.send(());
                }
            }
            Message::Purge { number, batch } => {
                let (store, channel) = (Arc::clone(store), channel.clone());
                runtime.spawn(async move {
                    let outcome = store.purge(batch).await.map_err(|error| error.to_string());
                    let answer = Message::Purged { number, outcome };
                    // If the other process has ended, so has the caller's connection.
                    tokio::task::spawn_blocking(move || channel.send(&answer));
                });
            }
            Message::Invalidation { distribution, path } => {
                store.invalidate_by(ServedBy::Predecessor, &distribution, &path);
            }
            _ => break,
        }
    }
    // A process that does not understand this one must not wait for it.
    channel.close();
    // Purges no longer wait for it.
    *unconfirmed.lock() = None;
    tracing::info!("the replaced process has ended");
}
