//! The replacement of this process by another one, which runs another version or has another configuration.
//!
//! The next process prepares itself while this one serves. Then this one stops writing to its disk cache and to its
//! state directory, and sends its listening sockets. Once the next process is ready, it alone accepts connections, and
//! this one ends with its last request. If anything fails before that, this process continues.

use std::{
    io,
    net::SocketAddr,
    os::{fd::AsFd, unix::fs::MetadataExt},
    process::Child,
    sync::atomic::Ordering,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{broadcast, mpsc},
    task::spawn_blocking,
    time::timeout,
};

use super::{Program, Running, Successor, UpgradeError, agreement::contents_of};
use crate::{
    base::{clock::Timestamp, memory},
    cache::store::{LateInvalidation, MemoryRecord, PausedJournal, Store},
    handover::{Channel, Hello, Message, PROTOCOL, unexpected},
    server::Listener,
};

/// How long the next process may take to read its configuration, and to take over the contents of the memory.
const PREPARATION: Duration = Duration::from_secs(60);

/// How long it may take from the moment when this process stops writing until it serves.
const TAKEOVER: Duration = Duration::from_secs(20);

/// Purges of operators that wait for the next process. Further ones wait for a place.
const WAITING: usize = 64;

/// Sockets that are sent with one message.
const PER_MESSAGE: usize = 64;

/// How long a process that closed the channel may take to end.
const ENDING: Duration = Duration::from_millis(50);

/// How often this process looks whether it may begin.
const INTERVAL: Duration = Duration::from_millis(50);

impl Running {
    /// Replaces this process by `program`. After that, only [`Self::finish`] may be called.
    ///
    /// # Errors
    /// If the new process cannot take over. This one continues.
    pub async fn upgrade(&self, program: &Program) -> Result<Successor, UpgradeError> {
        if ends_container() {
            return Err(UpgradeError::FirstOfContainer);
        }
        self.upgrade.is_cancelled.store(false, Ordering::Relaxed);
        self.recovered().await?;
        let (mut child, channel) = program.start()?;
        *self.upgrade.channel.lock() = Some(channel.clone());
        let process = child.id();
        let prepared = self.prepare_successor(&channel).await;
        let outcome = match prepared {
            Ok(version) => self.hand_over_to(&channel, &mut child).await.map(|()| version),
            Err(error) => Err(error),
        };
        *self.upgrade.channel.lock() = None;
        // A process that took over is not waited for: this one ends first.
        let Err(error) = outcome else {
            return outcome.map(|version| Successor { process, version });
        };
        let status = end(&mut child).await;
        self.check_cancelled()?;
        Err(match error {
            UpgradeError::Ended(_) => UpgradeError::Ended(status),
            error => error,
        })
    }

    /// Ends an upgrade in progress. It fails, unless the new process serves already.
    pub fn cancel_upgrade(&self) {
        self.upgrade.is_cancelled.store(true, Ordering::Relaxed);
        if let Some(channel) = &*self.upgrade.channel.lock() {
            channel.close();
        }
    }

    /// Waits until the index of the disk cache is complete: until then, another process must not use the directory.
    async fn recovered(&self) -> Result<(), UpgradeError> {
        let recovered = async {
            while self.is_recovering() {
                self.check_cancelled()?;
                tokio::time::sleep(INTERVAL).await;
            }
            Ok(())
        };
        timeout(PREPARATION, recovered).await.map_err(|_| UpgradeError::Recovering)?
    }

    fn check_cancelled(&self) -> Result<(), UpgradeError> {
        let is_cancelled = self.upgrade.is_cancelled.load(Ordering::Relaxed);
        if is_cancelled { Err(UpgradeError::Cancelled) } else { Ok(()) }
    }

    /// Waits until the new process is prepared, and sends it the contents of the memory. Returns its version.
    async fn prepare_successor(&self, channel: &Channel) -> Result<String, UpgradeError> {
        let (contents, is_ready) = (contents_of(&self.started), self.admin.is_ready());
        let (store, now, channel) = (self.edge.store().clone(), self.clock.now(), channel.clone());
        blocking(move || {
            let hello = greeted(&channel)?;
            let same = contents.filter(|contents| hello.contents.as_ref() == Some(contents));
            let store = same.is_some().then_some(&*store);
            let identity = store.map(Store::identity);
            channel.send(&Message::Contents { identity, is_ready })?;
            if let Some(store) = store {
                send_contents(&channel, store, hello.memory, now)?;
            }
            channel.send(&Message::EndOfContents)?;
            match next(&channel)? {
                Message::Prepared => Ok(hello.version),
                _ => Err(unexpected().into()),
            }
        })
        .await
    }

    /// Hands over to the new process, and waits until it serves.
    async fn hand_over_to(&self, channel: &Channel, child: &mut Child) -> Result<(), UpgradeError> {
        // From here on, only one of the processes writes.
        timeout(TAKEOVER, self.admin.set_handing_over(true))
            .await
            .map_err(|_| UpgradeError::Busy)?;
        let config = self.config.lock().admin_options.clone();
        self.admin.listen_to(&[], &config.topics);
        let store = self.edge.store();
        // A disk that hangs must not hold up purges.
        let flushed = timeout(TAKEOVER, store.flush_disk()).await;
        let may_pause = flushed.is_ok() && self.check_cancelled().is_ok();
        let paused = if may_pause { store.pause(TAKEOVER).await } else { None };
        let Some(paused) = paused else {
            self.resume(None).await;
            self.check_cancelled()?;
            return Err(UpgradeError::Busy);
        };
        let (taking, sockets) = (channel.clone(), self.sockets.lock().copies());
        let of_thread = store.clone();
        // Those before this are part of the state.
        let invalidated = store.invalidated();
        let taken = blocking(move || {
            send_state(&taking, &sockets?, &of_thread)?;
            await_ready(&taking, &of_thread)?;
            Ok(taking.set_timeout(None)?)
        });
        match taken.await {
            Ok(()) => {
                // From here on, the new process serves.
                *self.upgrade.channel.lock() = None;
                self.leave(paused, invalidated, channel).await;
                Ok(())
            }
            Err(error) => {
                // Before this process uses the disk again.
                end(child).await;
                self.resume(Some(paused)).await;
                Err(error)
            }
        }
    }

    /// Leaves everything to the next process, except for the open connections.
    async fn leave(
        &self,
        paused: PausedJournal,
        invalidated: broadcast::Receiver<LateInvalidation>,
        channel: &Channel,
    ) {
        self.drain.hand_over();
        self.admin_drain.hand_over();
        self.sockets.lock().close();
        let (purges, of_operators) = mpsc::channel(WAITING);
        let following = Successor::follow(channel, invalidated, self.edge.store(), of_operators);
        *self.upgrade.late_invalidations.lock() = Some(following);
        let store = self.edge.store().clone();
        // A panic is in the log.
        let _ = spawn_blocking(move || store.hand_over(paused, purges)).await;
        if let Some(task) = self.obtaining.lock().take() {
            task.abort();
        }
    }

    /// Continues, because the next process did not take over.
    async fn resume(&self, paused: Option<PausedJournal>) {
        self.admin.reopen_history();
        if let Some(Err(error)) = paused.map(|paused| self.edge.store().resume(paused)) {
            tracing::error!(%error, "the disk cache is no longer written");
        }
        self.admin.set_handing_over(false).await;
        let config = self.config.lock();
        self.admin.listen_to(&config.admin_options.queues, &config.admin_options.topics);
    }
}

/// Whether the container ends with this process: it is the first one, or the only child of an init program.
fn ends_container() -> bool {
    // The inode of the machine's own PID namespace (`PROC_PID_INIT_INO` in Linux).
    const MACHINE: u64 = 0xEFFF_FFFC;
    let is_child_of_first = std::os::unix::process::parent_id() == 1;
    let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(MACHINE, |file| file.ino());
    let has_systemd = std::env::var_os("NOTIFY_SOCKET").is_some();
    std::process::id() == 1 || is_child_of_first && namespace != MACHINE && !has_systemd
}

/// Ends a process that did not take over. Returns how it ended.
async fn end(child: &mut Child) -> String {
    // One that closed the channel ends by itself.
    if !matches!(child.try_wait(), Ok(Some(_))) {
        tokio::time::sleep(ENDING).await;
    }
    // It may have ended already.
    let _ = child.kill();
    child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
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

fn greeted(channel: &Channel) -> Result<Hello, UpgradeError> {
    channel.set_timeout(Some(PREPARATION))?;
    match next(channel)? {
        Message::Hello(hello) if hello.protocol == PROTOCOL => Ok(hello),
        Message::Hello(hello) => Err(UpgradeError::OtherVersion(hello.version)),
        _ => Err(unexpected().into()),
    }
}

/// Sends the most recently used contents of the memory, up to `limit` bytes, and as far as the machine has memory for both
/// processes.
fn send_contents(
    channel: &Channel,
    store: &Store,
    limit: u64,
    now: Timestamp,
) -> Result<(), UpgradeError> {
    let available = memory::available().map_or(u64::MAX, |bytes| bytes - bytes / 8);
    let wanted = limit.min(store.usage().bytes);
    if available < wanted {
        tracing::warn!(
            available,
            wanted,
            "there is not enough memory for two processes: the new one gets a part of the contents"
        );
    }
    for record in store.records(limit.min(available), now) {
        let MemoryRecord { kind, digest, description, body } = record;
        let record = Message::Record { kind, digest, description: description.len() };
        channel.send_with(&record, &[&description, &body], &[])?;
    }
    Ok(())
}

/// Sends what only one process can have.
fn send_state(
    channel: &Channel,
    sockets: &[(SocketAddr, Vec<Listener>)],
    store: &Store,
) -> Result<(), UpgradeError> {
    channel.set_timeout(Some(TAKEOVER))?;
    for (address, sockets) in sockets {
        for some in sockets.chunks(PER_MESSAGE) {
            let fds: Vec<_> = some.iter().map(|listener| listener.socket.as_fd()).collect();
            let is_kept = some.iter().any(|listener| listener.is_kept);
            channel.send_with(&Message::Listener { address: *address, is_kept }, &[], &fds)?;
        }
    }
    let (purges, invalidations) = (store.floors().entries(), store.floors().invalidations());
    Ok(channel.send(&Message::State { identity: store.identity(), purges, invalidations })?)
}

/// Waits until the new process serves. Applies its purges meanwhile.
fn await_ready(channel: &Channel, store: &Store) -> Result<(), UpgradeError> {
    loop {
        match next(channel)? {
            Message::Ready => return Ok(()),
            Message::Purges(purges) => {
                Handle::current().block_on(store.apply_of_successor(&purges));
                channel.send(&Message::Applied)?;
            }
            _ => return Err(unexpected().into()),
        }
    }
}
