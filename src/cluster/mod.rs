//! Several nodes as one cache: the log of their purges is a stream of NATS JetStream.
//!
//! `protocol.rs` says when a purge is complete, and when a node may use what it has stored.

mod digest;
mod log;
mod message;
mod node;
mod options;
mod protocol;
mod shared;
#[cfg(test)]
mod simulation;
mod status;
mod stream;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use log::StreamPurgeLog;
use node::Node;
pub(crate) use options::{ClusterOptions, NatsOptions};
use parking_lot::Mutex;
use protocol::Member;
use shared::{Connection, Shared};
pub(crate) use status::{ClusterStatus, MemberStatus};
pub(crate) use stream::{Inspection, inspect};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    base::{clock::BootTime, metrics::ClusterMetrics},
    cache::store::{PurgeLog, PurgeState},
};

/// How often the lease is looked at for the log.
const LOOK: Duration = Duration::from_secs(1);

/// This node's part in its cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    shared: Arc<Shared>,
    /// What the store knows, until the node starts.
    purges: Mutex<Option<PurgeState>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Cluster {
    /// A node whose distributions have this digest.
    pub(crate) fn new(
        options: ClusterOptions,
        configuration: String,
        metrics: ClusterMetrics,
    ) -> Self {
        let shared = Arc::new(Shared::new(options, configuration, metrics));
        Self { shared, purges: Mutex::default(), tasks: Mutex::default() }
    }

    /// The log of purges for a store.
    pub(crate) fn log(&self, purges: PurgeState) -> Box<dyn PurgeLog> {
        *self.purges.lock() = Some(purges);
        Box::new(StreamPurgeLog(Arc::clone(&self.shared)))
    }

    /// Joins the cluster. Must be called within a runtime, after the store was opened with this log.
    pub(crate) fn start(&self) {
        let Some(purges) = self.purges.lock().take() else { return };
        let node = Node { shared: Arc::clone(&self.shared), purges };
        let following = tokio::spawn(async move { match node.run().await {} });
        let watching = tokio::spawn(watch(Arc::clone(&self.shared)));
        self.tasks.lock().extend([following, watching]);
    }

    /// The distributions have another digest now.
    pub(crate) fn set_configuration(&self, configuration: String) {
        self.shared.protocol.lock().set_configuration(configuration);
        self.shared.due.notify_one();
    }

    /// Ends this node's part. Its lease runs out.
    pub(crate) fn stop(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }

    /// Whether this node had a lease since it started.
    pub(crate) fn has_joined(&self) -> bool {
        self.shared.has_joined.load(Ordering::Acquire)
    }

    /// What this node knows about its cluster. Updates its gauges.
    pub(crate) fn status(&self) -> ClusterStatus {
        let Shared { options, node, protocol, lease, connection, .. } = &*self.shared;
        let (now, protocol) = (BootTime::now(), protocol.lock());
        let successor = protocol.successor();
        let others = protocol
            .members()
            .iter()
            .filter(|(member, _)| member.node != *node || Some(member.process) == successor);
        // Of the processes of a node, the one that was heard of last.
        let mut newest = BTreeMap::<&str, &Member>::new();
        for (member, seen) in others {
            let known = newest.entry(&member.node).or_insert(seen);
            if known.received < seen.received {
                *known = seen;
            }
        }
        let members = newest.into_iter().map(|(node, seen)| MemberStatus {
            node: node.to_owned(),
            applied: seen.applied,
            heartbeat_age: now.since(seen.received).as_secs(),
            may_have_lease: seen.may_have_lease(now),
            same_configuration: seen.configuration == protocol.configuration(),
        });
        let members: Vec<MemberStatus> = members.collect();
        let metrics = &self.shared.metrics;
        metrics.lease.set(lease.is_held().into());
        metrics.applied.set(i64::try_from(protocol.applied()).unwrap_or(i64::MAX));
        let up = members.iter().filter(|member| member.may_have_lease).count();
        metrics.members.set(i64::try_from(up).unwrap_or(i64::MAX));
        let connection_error = match &*connection.borrow() {
            Connection::Down(reason) => Some(reason.clone()),
            Connection::Up(_) => None,
        };
        ClusterStatus {
            cluster: options.name.clone(),
            node: node.clone(),
            connection_error,
            has_lease: lease.is_held(),
            applied: protocol.applied(),
            name_conflict: protocol.successor().is_some(),
            members,
        }
    }
}

/// Logs when the lease runs out, and when this node gets another one.
async fn watch(shared: Arc<Shared>) {
    let (mut was_member, mut had_successor) = (false, false);
    loop {
        let is_member = shared.lease.is_held();
        match (was_member, is_member) {
            (false, true) => {
                let node = &shared.node;
                tracing::info!(node, "this node knows all purges of its cluster");
            }
            (true, false) if shared.lease.is_optional => tracing::warn!(
                "this node is cut off from its cluster: what it serves may have been purged"
            ),
            (true, false) => tracing::warn!(
                "this node is cut off from its cluster: each stored response is validated with the origin before it is used"
            ),
            _ => {}
        }
        let successor = shared.protocol.lock().successor();
        if let (false, Some(process)) = (had_successor, successor) {
            let node = &shared.node;
            tracing::error!(
                node,
                process,
                "another process joined the cluster with the name of this node; give each node a name of its own in `cluster.node`"
            );
        }
        (was_member, had_successor) = (is_member, successor.is_some());
        sleep(LOOK).await;
    }
}
