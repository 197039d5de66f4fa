//! The replacement of this process by another one, which runs another version or has another configuration.
//!
//! The next process prepares itself while this one serves. Then this one stops writing to its disk cache and to its
//! state directory, and sends its listening sockets. Once the next process is ready, it alone accepts connections, and
//! this one ends with its last request. If anything fails before that, this process continues.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    process::Child,
    time::Duration,
};

use tokio::{sync::mpsc, task::spawn_blocking};

use super::{Program, Running, Successor, UpgradeError, agreement::contents_of};
use crate::{
    base::{clock::Timestamp, memory},
    cache::store::{ForSuccessor, MemoryRecord, PausedJournal, Store},
    handover::{Channel, Hello, Message, PROTOCOL},
};

/// How long the next process may take to read its configuration, and to take over the contents of the memory.
const PREPARATION: Duration = Duration::from_secs(60);

/// How long it may take from the moment when this process stops writing until it serves.
const TAKEOVER: Duration = Duration::from_secs(15);

/// Purges of operators that wait for the next process. Further ones wait for a place.
const WAITING: usize = 64;

/// Sockets that are sent with one message.
const TOGETHER: usize = 64;

/// The bytes that a record takes in memory beyond its content.
const OVERHEAD: usize = 1024;

impl Running {
    /// Replaces this process by `program`. After that, only [`Self::finish`] may be called.
    ///
    /// # Errors
    /// If the new process cannot take over. This one continues.
    pub async fn upgrade(&self, program: &Program) -> Result<Successor, UpgradeError> {
        if std::process::id() == 1 {
            return Err(UpgradeError::FirstOfContainer);
        }
        let (mut child, channel) = program.start()?;
        let process = child.id();
        let (purges, of_operators) = mpsc::channel(WAITING);
        match self.replace_by(&channel, &mut child, purges).await {
            Ok((version, known)) => {
                // It is not waited for: this process ends first.
                drop(child);
                let successor = Successor::new(channel, process, version, known, &self.edge);
                successor.follow(of_operators).map_err(UpgradeError::System)
            }
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Hands over to the process at the other end of the channel. Returns its version, and the number of the newest
    /// invalidation that it knows.
    async fn replace_by(
        &self,
        channel: &Channel,
        child: &mut Child,
        purges: mpsc::Sender<ForSuccessor>,
    ) -> Result<(String, u64), UpgradeError> {
        let contents = contents_of(&self.started);
        let (store, now) = (self.edge.store().clone(), self.clock.now());
        let preparing = channel.clone();
        let prepare = move || {
            let hello = greeted(&preparing)?;
            let same = contents.filter(|contents| hello.contents.as_ref() == Some(contents));
            send_contents(&preparing, same.is_some().then_some(&*store), now)?;
            match next(&preparing)? {
                Message::Prepared => Ok(hello.version),
                _ => Err(unexpected()),
            }
        };
        let version = blocking(prepare).await?;
        // From here on, only one of the processes writes.
        self.admin_drain.wait();
        self.admin.listen_to(&[], &[]);
        let store = self.edge.store();
        let Some(paused) = store.pause(TAKEOVER).await else {
            self.resume(None);
            return Err(UpgradeError::Purges);
        };
        let (taking, sockets) = (channel.clone(), self.sockets.lock().copies());
        let of_thread = store.clone();
        let taken = blocking(move || {
            let known = send_state(&taking, &sockets?, &of_thread)?;
            await_ready(&taking, &of_thread)?;
            Ok(known)
        });
        match taken.await {
            Ok(known) => {
                self.leave(paused, purges).await;
                Ok((version, known))
            }
            Err(error) => {
                // Before this process uses the disk again.
                end(child);
                self.resume(Some(paused));
                Err(error)
            }
        }
    }

    /// Leaves everything to the next process, except for the open connections.
    async fn leave(&self, paused: PausedJournal, purges: mpsc::Sender<ForSuccessor>) {
        self.drain.hand_over();
        self.admin_drain.hand_over();
        self.admin.begin_drain();
        self.sockets.lock().close();
        if let Some(task) = self.obtaining.lock().take() {
            task.abort();
        }
        let store = self.edge.store().clone();
        // A panic is in the log.
        let _ = spawn_blocking(move || store.hand_over(paused, purges)).await;
    }

    /// Continues, because the next process did not take over.
    fn resume(&self, paused: Option<PausedJournal>) {
        if let Some(Err(error)) = paused.map(|paused| self.edge.store().resume(paused)) {
            tracing::error!(%error, "the disk cache is no longer written");
        }
        self.admin_drain.serve();
        let config = self.config.lock();
        self.admin.listen_to(&config.admin_options.queues, &config.admin_options.topics);
    }
}

/// Ends a process that did not take over.
fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Does something on a thread that may wait.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, UpgradeError> + Send + 'static,
) -> Result<T, UpgradeError> {
    let ended = spawn_blocking(act).await;
    ended.unwrap_or_else(|panic| Err(UpgradeError::System(io::Error::other(panic))))
}

/// The next message of the new process.
fn next(channel: &Channel) -> Result<Message, UpgradeError> {
    match channel.receive()?.message {
        Message::Failed(reason) => Err(UpgradeError::Refused(reason)),
        message => Ok(message),
    }
}

fn unexpected() -> UpgradeError {
    UpgradeError::System(io::Error::new(io::ErrorKind::InvalidData, "an unexpected message"))
}

fn greeted(channel: &Channel) -> Result<Hello, UpgradeError> {
    channel.set_patience(Some(PREPARATION))?;
    match next(channel)? {
        Message::Hello(hello) if hello.protocol == PROTOCOL => Ok(hello),
        Message::Hello(hello) => Err(UpgradeError::OtherVersion(hello.version)),
        _ => Err(unexpected()),
    }
}

/// Sends what is in memory, as far as the machine has memory for both processes.
fn send_contents(
    channel: &Channel,
    store: Option<&Store>,
    now: Timestamp,
) -> Result<(), UpgradeError> {
    let identity = store.map(Store::identity);
    channel.send(&Message::Contents { identity })?;
    if let Some(store) = store {
        let available = memory::available().unwrap_or(u64::MAX);
        let mut room = available - available / 8;
        for record in store.records(now) {
            let MemoryRecord { kind, digest, description, body } = record;
            let length = (description.len() + body.len() + OVERHEAD) as u64;
            let Some(left) = room.checked_sub(length) else {
                tracing::warn!(
                    "there is not enough memory for two processes: the new one gets a part of the contents"
                );
                break;
            };
            room = left;
            let record = Message::Record { kind, digest, description: description.len() };
            channel.send_with(&record, &[&description, &body], &[])?;
        }
    }
    Ok(channel.send(&Message::EndOfContents)?)
}

/// Sends what only one process can have. Returns the number of the newest invalidation.
fn send_state(
    channel: &Channel,
    sockets: &[(SocketAddr, Vec<TcpListener>)],
    store: &Store,
) -> Result<u64, UpgradeError> {
    channel.set_patience(Some(TAKEOVER))?;
    for (address, sockets) in sockets {
        for some in sockets.chunks(TOGETHER) {
            let fds: Vec<_> = some.iter().map(AsFd::as_fd).collect();
            channel.send_with(&Message::Listener { address: *address }, &[], &fds)?;
        }
    }
    let (newest, invalidations) = store.floors().invalidations_above(0);
    let purges = store.floors().entries();
    channel.send(&Message::State { identity: store.identity(), purges, invalidations })?;
    Ok(newest)
}

/// Waits until the new process serves. Applies its purges meanwhile.
fn await_ready(channel: &Channel, store: &Store) -> Result<(), UpgradeError> {
    loop {
        match next(channel)? {
            Message::Ready => return Ok(()),
            Message::Purges(purges) => {
                store.apply(&purges);
                channel.send(&Message::Applied)?;
            }
            _ => return Err(unexpected()),
        }
    }
}
