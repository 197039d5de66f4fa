//! The log of purges of a cluster.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    lease::PATIENCE,
    member::Member,
    message::PurgeMessage,
    shared::{Connection, Shared},
};
use crate::{
    base::clock::{BootTime, Stopwatch},
    cache::store::{PurgeBatch, PurgeError, PurgeLease, PurgeLog},
};

/// How long writing a purge is tried: longer than the servers need to elect a leader.
const WRITING: Duration = Duration::from_secs(15);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// How long after a purge its completion is awaited: until the lease of each node that does not answer has run out, and
/// this one had time to connect again.
const COMPLETION: Duration = PATIENCE.saturating_add(Duration::from_secs(10));

/// How often leases are looked at that may have run out.
const LOOK: Duration = Duration::from_millis(100);

/// A purge that takes longer is logged.
const LONG: Duration = Duration::from_secs(1);

/// Purges of one batch that are written at the same time.
const TOGETHER: usize = 64;

/// The stream of a cluster, as the log of its purges.
#[derive(Debug)]
pub(super) struct StreamPurgeLog(pub(super) Arc<Shared>);

impl PurgeLog for StreamPurgeLog {
    fn append(&self, batch: PurgeBatch) -> BoxFuture<'_, Result<(), PurgeError>> {
        Box::pin(self.append(batch))
    }

    fn lease(&self) -> Option<Arc<PurgeLease>> {
        Some(Arc::clone(&self.0.lease))
    }
}

/// Purges in the stream.
struct Batch {
    /// The state of the protocol before they were written.
    era: u64,
    count: u64,
    written: Vec<Written>,
}

/// A purge in the stream.
struct Written {
    subject: String,
    sequence: u64,
}

impl StreamPurgeLog {
    async fn append(&self, batch: PurgeBatch) -> Result<(), PurgeError> {
        let watch = Stopwatch::start();
        *self.0.last_error.lock() = None;
        let messages: Vec<PurgeMessage> =
            batch.changes().filter_map(|change| PurgeMessage::of(&change)).collect();
        let complete_by = Instant::now() + COMPLETION;
        loop {
            let until = complete_by.min(Instant::now() + WRITING);
            let written = timeout_at(until, self.write_all(&messages))
                .await
                .map_err(|_| PurgeError::Cluster(self.reason()))?;
            let completion = timeout_at(complete_by, self.completion(&written)).await;
            if completion.map_err(|_| PurgeError::Unconfirmed)? {
                self.0.metrics.purge_seconds.observe(watch.elapsed().as_secs_f64());
                return Ok(());
            }
            // The stream has lost it, or was created again.
        }
    }

    /// Writes purges, to the stream that this node follows.
    async fn write_all(&self, messages: &[PurgeMessage]) -> Batch {
        let id = fastrand::u64(..);
        let (era, count) = {
            let protocol = self.0.protocol.lock();
            (protocol.era(), protocol.count())
        };
        loop {
            let written = stream::iter(0..messages.len())
                .map(|at| self.write(&messages[at], format!("{id:016x}-{at}")))
                .buffer_unordered(TOGETHER);
            let written = written.collect().await;
            if let Ok(state) = self.0.connected().await.state().await
                && self.0.protocol.lock().log().is_some_and(|log| log.stream == state.name)
            {
                return Batch { era, count, written };
            }
            sleep(PAUSE).await;
        }
    }

    /// Writes a purge. A message with the same `id` is in the stream once at most.
    async fn write(&self, message: &PurgeMessage, id: String) -> Written {
        loop {
            let stream = self.0.connected().await;
            match stream.send_purge(message, &id).await {
                Ok(sequence) => {
                    return Written { subject: stream.subjects().of_purge(message), sequence };
                }
                Err(error) => *self.0.last_error.lock() = Some(error.to_string()),
            }
            sleep(PAUSE).await;
        }
    }

    fn reason(&self) -> String {
        match &*self.0.connection.borrow() {
            Connection::Down(reason) => reason.clone(),
            Connection::Up(_) => {
                let error = self.0.last_error.lock().clone();
                error.unwrap_or_else(|| "it does not answer".to_owned())
            }
        }
    }

    /// Logs which nodes a purge waits for.
    fn log_waiting(&self, newest: u64) {
        let (protocol, now) = (self.0.protocol.lock(), BootTime::now());
        let waits = |member: &Member| member.applied < newest && member.may_have_lease(now);
        let members = protocol.members().iter().filter(|(_, member)| waits(member));
        let nodes: Vec<&str> = members.map(|(member, _)| &*member.node).collect();
        tracing::info!(
            nodes = nodes.join(", "),
            "a purge waits until these nodes have applied it or hold no lease any more; without names, until this node knows all others"
        );
    }

    /// Waits until no node can use anything that the purges removed. False if they may not be in the stream.
    async fn completion(&self, Batch { era, count, written }: &Batch) -> bool {
        let newest = written.iter().map(|purge| purge.sequence).max().unwrap_or(0);
        let mut consumed = self.0.consumed.subscribe();
        let mut applied_at = None;
        let (watch, mut is_logged) = (Stopwatch::start(), false);
        loop {
            {
                let (protocol, now) = (self.0.protocol.lock(), BootTime::now());
                let has = |purge: &Written| protocol.has(&purge.subject, purge.sequence, *count);
                let is_lost = applied_at.is_none()
                    && protocol.consumed() >= newest
                    && !written.iter().all(has);
                if protocol.era() != *era || is_lost {
                    return false;
                }
                if protocol.consumed() >= newest
                    && protocol.is_complete(newest, *applied_at.get_or_insert(now), now)
                {
                    return true;
                }
            }
            if !is_logged && watch.elapsed() > LONG {
                is_logged = true;
                self.log_waiting(newest);
            }
            // Either more is known, or a lease has run out.
            let _ = timeout(LOOK, consumed.changed()).await;
        }
    }
}
