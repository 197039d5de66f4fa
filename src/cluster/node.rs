//! A node of a cluster: consumes the stream, and writes heartbeats into it.

use std::{
    io,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{self, consumer::pull::Batch};
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::{
    log_name::LogName,
    loss::Loss,
    message::{Message, PurgeMessage},
    shared::{Connection, Shared},
    stream::{ClusterStream, StreamError, next_sequence},
    stream_state::StreamState,
};
use crate::{
    base::clock::{BootTime, Clock, Stopwatch},
    cache::store::{LogPosition, PurgeChange, PurgeEntry, PurgeState},
};

/// How often a heartbeat is sent at least, and at most.
const INTERVAL: Duration = Duration::from_secs(5);
const LEAST: Duration = Duration::from_millis(20);

/// The same while this node waits for another one to confirm that it knows all purges: each of its heartbeats has an
/// answer.
const LEAST_UNVERIFIED: Duration = Duration::from_millis(200);

/// Pauses between two connections.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A connection that lasted this long is no failure.
const LASTING: Duration = Duration::from_secs(30);

/// How long it takes at most until the next message is delivered, while one must come.
const ARRIVAL: Duration = Duration::from_secs(3);

/// Messages that are requested at a time, and applied together.
const BATCH: usize = 500;
const TOGETHER: usize = 256;

/// How long a request for messages lasts.
const EXPIRES: Duration = Duration::from_secs(10);

/// How often, and how long apart, a stream is looked at that seems to have lost messages.
const LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_millis(200);

/// The pause before a purge is written to the node's journal again.
const RETRY: Duration = Duration::from_secs(1);

/// The reason why consuming has ended.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Loss(#[from] Loss),
}

/// The task of a node.
pub(super) struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) purges: PurgeState,
    /// A loss that is not dealt with yet.
    pub(super) loss: Mutex<Option<Loss>>,
    /// Whether the journal is being written: until then, nothing is consumed.
    pub(super) is_writing: AtomicBool,
}

impl Node {
    /// Connects again whenever the connection fails.
    pub(super) async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let watch = Stopwatch::start();
            let Shared { options, node, .. } = &*self.shared;
            let connection = async {
                match ClusterStream::open(options, node, self.shared.seal.clone()).await {
                    Ok(stream) => self.follow(stream).await,
                    Err(error) => error,
                }
            };
            // A panic must not end the node's part without a word.
            let ended = AssertUnwindSafe(connection).catch_unwind().await;
            if watch.elapsed() > LASTING {
                pause = FIRST_PAUSE;
            }
            self.disconnected(&ended.unwrap_or(StreamError::Panic));
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn disconnected(&self, error: &StreamError) {
        let reason = error.to_string();
        self.shared.connection.send_if_modified(|connection| {
            let is_new = !matches!(connection, Connection::Down(last) if *last == reason);
            if is_new {
                match error.advice() {
                    Some(advice) => {
                        tracing::warn!("no connection to the cluster: {reason}; {advice}");
                    }
                    None => tracing::warn!("no connection to the cluster: {reason}; trying again"),
                }
                *connection = Connection::Down(reason);
            }
            is_new
        });
    }

    /// Follows the stream until the connection fails.
    async fn follow(&self, stream: ClusterStream) -> StreamError {
        let loss = self.loss.lock().clone();
        let mut fault = match loss {
            Some(loss) => Some(Fault::Loss(loss)),
            None => self.begin(&stream).await.err(),
        };
        loop {
            match fault {
                Some(Fault::Stream(error)) => return error,
                Some(Fault::Loss(loss)) => {
                    // A stream that seemed to be cut is looked at again.
                    *self.loss.lock() = Some(loss.clone()).filter(|it| *it != Loss::Truncated);
                    if let Err(error) = self.start_over(&stream, &loss).await {
                        return error;
                    }
                    *self.loss.lock() = None;
                }
                None => {}
            }
            self.shared.connection.send_replace(Connection::Up(Box::new(stream.clone())));
            let ended = tokio::select! {
                ended = self.consume(&stream) => ended,
                ended = self.beat(&stream) => ended,
            };
            fault = ended.err();
        }
    }

    /// The state of the stream, which has at least the messages up to `known`, unless it has lost some.
    async fn state(&self, stream: &ClusterStream, known: u64) -> Result<StreamState, StreamError> {
        let mut state = stream.state().await?;
        // The server that answers may be a little behind the one that delivers.
        for _ in 0..LOOKS {
            if state.last >= known {
                break;
            }
            sleep(LOOK).await;
            state = stream.state().await?;
        }
        Ok(state)
    }

    /// Compares the stream with what this node knows of it.
    async fn begin(&self, stream: &ClusterStream) -> Result<(), Fault> {
        let known = self.shared.protocol.lock().applied();
        let reset = stream.reset().await?;
        let state = self.state(stream, known).await?;
        let mut protocol = self.shared.protocol.lock();
        if protocol.log().is_some() {
            protocol.check(&state, known)?;
            protocol.check_reset(reset)?;
        } else {
            let floors = &self.purges.floors;
            let (log, newest) = (floors.log(), floors.newest());
            let known = log.filter(|(beginning, _)| beginning.epoch() == newest.epoch());
            let known = known.and_then(|(_, name)| Some((name.parse().ok()?, newest.number())));
            protocol.resume(known, &state, reset, BootTime::now())?;
        }
        Ok(())
    }

    /// Makes everything stored unusable, because purges may be missing.
    async fn start_over(&self, stream: &ClusterStream, loss: &Loss) -> Result<(), StreamError> {
        self.shared.protocol.lock().revoke();
        self.shared.lease.set(None);
        if loss.concerns_all() {
            let everything = PurgeMessage::everything(fastrand::u64(1..));
            stream.send_purge(&everything, &format!("{:016x}", fastrand::u64(..))).await?;
        }
        let state = stream.state().await?;
        // A newer one than the state is consumed as well.
        let reset = stream.reset().await?;
        let epoch = self.purges.unused().ok_or(StreamError::Exhausted)?.epoch();
        if *loss == Loss::New {
            tracing::info!("joining the cluster with an empty cache: {loss}");
        } else {
            self.shared.metrics.losses.inc();
            tracing::error!("everything stored is invalid, because {loss}");
        }
        let position = LogPosition::new(epoch, state.last);
        let log = LogName::of(&state.name, reset);
        let change = PurgeChange::NewLog { name: log.to_string().into() };
        self.write(vec![PurgeEntry { position, change }]).await;
        self.shared.protocol.lock().start_over(log, &state, BootTime::now());
        Ok(())
    }

    /// Consumes messages.
    async fn consume(&self, stream: &ClusterStream) -> Result<(), Fault> {
        // The last connection may have ended while the journal was being written.
        self.is_writing.store(false, Ordering::Release);
        let from = self.shared.protocol.lock().consumed() + 1;
        let consumer = stream.consumer(from).await?;
        let mut delivered = 0;
        loop {
            // Without heartbeats of the server: after one, the library does not wake the task for the next message.
            let batch = consumer.batch().max_messages(BATCH).expires(EXPIRES).messages().await;
            let mut batch = batch.map_err(StreamError::read)?;
            while let Some(first) = batch.next().await {
                let first = first.map_err(StreamError::read)?;
                let messages = ready(first, &mut batch)?;
                let numbered = messages
                    .iter()
                    .map(|message| Ok((next_sequence(message, &mut delivered)?, message)));
                let numbered: Result<Vec<_>, StreamError> = numbered.collect();
                self.apply(stream, &numbered?).await?;
            }
        }
    }

    /// Applies messages: purges first, so that a heartbeat vouches only for what is durable.
    async fn apply(
        &self,
        stream: &ClusterStream,
        messages: &[(u64, &jetstream::Message)],
    ) -> Result<(), Fault> {
        let read = messages.iter().map(|(sequence, message)| {
            let subject = &*message.subject;
            (*sequence, subject, stream.subjects().read(subject, &message.payload))
        });
        let read: Vec<_> = read.collect();
        let entries = self.entries(&read);
        if !entries.is_empty() {
            self.write(entries).await;
        }
        let mut protocol = self.shared.protocol.lock();
        for (sequence, subject, message) in read {
            match message {
                Some(Message::Purge(purge)) => {
                    if purge.reset().is_some() && protocol.is_new(sequence) {
                        self.shared.metrics.losses.inc();
                        tracing::error!(
                            "everything stored is invalid, because another node found that the stream lost purges, or a message cannot be read"
                        );
                    }
                    protocol.consume_purge(sequence, subject, purge.reset());
                }
                Some(Message::Heartbeat(heartbeat)) => {
                    protocol.consume_heartbeat(sequence, heartbeat, BootTime::now())?;
                }
                None => {
                    tracing::warn!(
                        subject,
                        "a message of the cluster cannot be read: another version wrote it, or `cluster.key_file` has another key"
                    );
                    protocol.consume_unknown(sequence, BootTime::now());
                }
            }
        }
        self.shared.publish(&protocol);
        Ok(())
    }

    /// The purges among messages that are still to be applied.
    fn entries(&self, messages: &[(u64, &str, Option<Message>)]) -> Vec<PurgeEntry> {
        let epoch = self.purges.floors.newest().epoch();
        let protocol = self.shared.protocol.lock();
        let Some(log) = protocol.log() else { return Vec::new() };
        let new = messages.iter().filter(|(sequence, ..)| protocol.is_new(*sequence));
        let entry = |(sequence, _, message): &(u64, &str, Option<Message>)| match message {
            Some(Message::Purge(purge)) => {
                let position = LogPosition::new(epoch, *sequence);
                Some(PurgeEntry { position, change: purge.change(log) })
            }
            _ => None,
        };
        new.filter_map(entry).collect()
    }

    /// Writes entries to this node's journal. Until that succeeds, nothing more is consumed, and the lease runs out.
    async fn write(&self, entries: Vec<PurgeEntry>) {
        let journal = &self.purges.journal;
        self.is_writing.store(true, Ordering::Release);
        loop {
            match journal.add(entries.clone()).await.await {
                Ok(()) => break,
                Err(error)
                    if error.kind() == io::ErrorKind::StorageFull && journal.make_space().await => {
                }
                Err(error) => {
                    tracing::error!(%error, "purges of the cluster cannot be written; trying again");
                    sleep(RETRY).await;
                }
            }
        }
        self.is_writing.store(false, Ordering::Release);
    }

    /// Writes heartbeats.
    async fn beat(&self, stream: &ClusterStream) -> Result<(), Fault> {
        loop {
            let known = self.shared.protocol.lock().applied();
            let state = self.state(stream, known).await?;
            let heartbeat = {
                let mut protocol = self.shared.protocol.lock();
                // What was applied meanwhile may not be in the state yet.
                protocol.check(&state, known)?;
                protocol.info_mut().clock = Clock::system().now().as_millis();
                protocol.heartbeat(BootTime::now())
            };
            stream.send_heartbeat(&heartbeat).await?;
            self.consumes(heartbeat.number).await?;
            let is_verified = self.shared.protocol.lock().is_verified();
            sleep(if is_verified { LEAST } else { LEAST_UNVERIFIED }).await;
            if !self.shared.protocol.lock().is_due() {
                tokio::select! {
                    () = sleep(INTERVAL) => {}
                    () = self.shared.due.notified() => {}
                }
            }
        }
    }

    /// Waits until an own heartbeat is consumed.
    ///
    /// # Errors
    /// If it does not arrive: the server that delivers may be gone.
    async fn consumes(&self, number: u64) -> Result<(), StreamError> {
        let mut consumed = self.shared.consumed.subscribe();
        while !self.shared.protocol.lock().has_own(number) {
            let arrived = timeout(ARRIVAL, consumed.changed()).await;
            if arrived.is_err() && !self.is_writing.load(Ordering::Acquire) {
                return Err(StreamError::read("no messages arrive"));
            }
        }
        Ok(())
    }
}

/// A message, and those after it that have arrived already.
fn ready(
    first: jetstream::Message,
    batch: &mut Batch,
) -> Result<Vec<jetstream::Message>, StreamError> {
    let mut messages = vec![first];
    while messages.len() < TOGETHER
        && let Some(Some(next)) = batch.next().now_or_never()
    {
        messages.push(next.map_err(StreamError::read)?);
    }
    Ok(messages)
}
