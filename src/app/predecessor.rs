//! The process that this one replaces.

use std::{
    collections::VecDeque, io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, thread::Builder,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::agreement::{VARIABLE, contents_of};
use crate::{
    cache::store::{ForPredecessor, Invalidations, MemoryRecord, PurgeEntry, Store, StoreIdentity},
    config::Config,
    handover::{Channel, Hello, Message, PROTOCOL, Received},
    server::InheritedSockets,
};

/// The longest wait for the other process, which may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Purges that wait for the other process. Further ones wait for a place.
const WAITING: usize = 64;

/// The process that this one replaces.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
}

/// The purges and invalidations of the last process.
#[derive(Debug)]
pub(super) struct LastState {
    identity: StoreIdentity,
    purges: Vec<PurgeEntry>,
    invalidations: Vec<(String, Invalidations)>,
}

impl LastState {
    /// Adds them to a store. `took_contents` is whether the store took over the contents of the last process: then
    /// it has no other source for the purges.
    pub(super) fn apply_to(self, store: &Store, took_contents: bool) {
        if took_contents {
            store.apply(&self.purges);
        }
        if store.identity().secret == self.identity.secret {
            store.floors().merge_invalidations(self.invalidations, true);
        }
    }
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
        channel.set_patience(Some(PATIENCE))?;
        Ok(Some(Self { channel }))
    }

    /// Says why this process cannot start. The other one continues.
    pub fn failed(&self, reason: &str) {
        // If the other process has ended, nobody waits for it.
        let _ = self.channel.send(&Message::Failed(reason.to_owned()));
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
        }))?;
        let Message::Contents { identity } = self.channel.receive()?.message else {
            return Err(unexpected());
        };
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
                Message::Listener { address } => add_sockets(sockets, address, fds),
                Message::State { identity, purges, invalidations } => {
                    return Ok(LastState { identity, purges, invalidations });
                }
                _ => return Err(unexpected()),
            }
        }
    }

    /// Says that this process accepts all connections from now on. The other process gets its purges.
    pub(super) fn replaced(self, store: &Arc<Store>) -> io::Result<()> {
        let (sender, purges) = mpsc::channel(WAITING);
        store.set_predecessor(sender);
        self.channel.set_patience(None)?;
        self.channel.send(&Message::Ready)?;
        let unconfirmed = Arc::new(Mutex::new(Some(VecDeque::new())));
        let (reading, waiting) = (self.channel.clone(), Arc::clone(&unconfirmed));
        let (of_reader, runtime) = (Arc::clone(store), Handle::current());
        let thread = || Builder::new().name("forebay-upgrade".into());
        thread().spawn(move || listen(&reading, &waiting, &of_reader, &runtime))?;
        thread().spawn(move || send(&self.channel, purges, &unconfirmed))?;
        Ok(())
    }
}

/// Where confirmations of the other process go, in their order. `None` once it has ended.
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
    // This process leaves. The other one may use nothing that it has stored from now on.
    channel.close();
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
                    // If the other process has ended, so has the caller's connection.
                    let answer = Message::Purged { number, outcome };
                    tokio::task::spawn_blocking(move || channel.send(&answer));
                });
            }
            Message::Invalidations(late) => store.floors().merge_invalidations(late, false),
            _ => break,
        }
    }
    // Purges no longer wait for it.
    *unconfirmed.lock() = None;
    tracing::info!("the process that this one replaced has ended");
}

fn add_sockets(sockets: &InheritedSockets, address: SocketAddr, fds: Vec<OwnedFd>) {
    for socket in fds {
        sockets.add(address, socket.into());
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other process sent an unexpected message")
}
