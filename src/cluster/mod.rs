//! Several nodes as one cache: the log of their purges is a stream of NATS JetStream.
//!
//! `protocol.rs` says when a purge is complete, and when a node may use what it has stored.

mod applied;
mod digest;
mod gap;
mod inspection;
mod lease;
mod log;
mod log_name;
mod loss;
mod member;
mod message;
mod node;
mod node_info;
mod options;
mod own_heartbeats;
mod ownership;
mod protocol;
mod seal;
mod shared;
mod shared_history;
#[cfg(test)]
mod simulation;
mod status;
mod stream;
mod stream_state;
mod watch;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub(crate) use applied::Applied;
pub(crate) use inspection::{Inspection, inspect};
use log::StreamPurgeLog;
use message::MemberId;
use node::Node;
use node_info::{NodeInfo, PeerInfo};
pub(crate) use options::{ClusterOptions, NatsOptions, PeerOptions};
pub(crate) use ownership::Peer;
use ownership::by_node;
use parking_lot::Mutex;
use protocol::Protocol;
pub(crate) use seal::Seal;
use shared::{Connection, Shared};
pub(crate) use shared_history::SharedHistory;
pub(crate) use status::{ClusterStatus, MemberStatus, clock_fault};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    base::{
        clock::{BootTime, Clock},
        metrics::ClusterMetrics,
    },
    cache::store::{PurgeFloors, PurgeLog, PurgeState},
};

/// How long a request of a peer waits for purges that this node has not applied yet.
const CATCH_UP: Duration = Duration::from_millis(250);

/// How long leaving takes at most.
const FAREWELL: Duration = Duration::from_millis(500);

/// This node's part in its cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    shared: Arc<Shared>,
    /// What the store knows, until the node starts.
    purges: Mutex<Option<PurgeState>>,
    /// The purges in force.
    floors: OnceLock<Arc<PurgeFloors>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Cluster {
    /// A node whose distributions have this digest.
    pub(crate) fn new(
        options: ClusterOptions,
        configuration: String,
        seal: Seal,
        metrics: ClusterMetrics,
    ) -> Self {
        let peer = options.peers.as_ref().map(|peers| PeerInfo {
            address: peers.address(&options.node()),
            weight: peers.weight,
        });
        let info = NodeInfo { configuration, peer, ..NodeInfo::default() };
        let shared = Arc::new(Shared::new(options, info, seal, metrics));
        Self { shared, purges: Mutex::default(), floors: OnceLock::new(), tasks: Mutex::default() }
    }

    /// The log of purges for a store.
    pub(crate) fn log(&self, purges: PurgeState) -> Box<dyn PurgeLog> {
        let _ = self.floors.set(Arc::clone(&purges.floors));
        *self.purges.lock() = Some(purges);
        Box::new(StreamPurgeLog(Arc::clone(&self.shared)))
    }

    /// Joins the cluster. Must be called within a runtime, after the store was opened with this log.
    pub(crate) fn start(&self) {
        let Some(purges) = self.purges.lock().take() else { return };
        let node = Node {
            shared: Arc::clone(&self.shared),
            purges,
            loss: Mutex::default(),
            is_writing: AtomicBool::new(false),
        };
        let following = tokio::spawn(node.run());
        let watching = tokio::spawn(watch::watch(Arc::clone(&self.shared)));
        self.tasks.lock().extend([following, watching]);
    }

    /// The distributions have another digest now.
    pub(crate) fn set_configuration(&self, configuration: String) {
        self.shared.protocol.lock().info_mut().configuration = configuration;
        self.shared.due.notify_one();
    }

    /// Leaves the cluster, so that purges do not wait for this node. Must be called once it serves nothing any more.
    pub(crate) async fn leave(&self) {
        let tasks: Vec<JoinHandle<()>> = self.tasks.lock().drain(..).collect();
        for task in tasks {
            task.abort();
            // It may be running, and end at its next await.
            let _ = task.await;
        }
        self.shared.lease.set(None);
        let farewell = self.shared.protocol.lock().farewell(BootTime::now());
        let connection = self.shared.connection.borrow().clone();
        if let Connection::Up(stream) = connection {
            // If that fails, the others wait until the lease would have run out.
            let _ = timeout(FAREWELL, stream.send_heartbeat(&farewell)).await;
        }
    }

    /// Whether this node has read the stream since it started.
    pub(crate) fn has_joined(&self) -> bool {
        self.shared.has_joined.load(Ordering::Acquire)
    }

    /// Whether this node may use what it has stored.
    pub(crate) fn has_lease(&self) -> bool {
        self.shared.lease.is_held()
    }

    /// The node that fetches an object for the others, unless it is this one. `object` names it, without its variants.
    pub(crate) fn owner(&self, object: &[u8], is_usable: impl Fn(&str) -> bool) -> Option<Peer> {
        let protocol = self.shared.protocol.lock();
        let me = (&*self.shared.node, protocol.info());
        ownership::owner(protocol.members(), me, object, BootTime::now(), is_usable)
    }

    /// Whether another node belongs to the cluster, or did so until recently.
    pub(crate) fn has(&self, node: &str) -> bool {
        self.shared.protocol.lock().members().keys().any(|member| member.node == node)
    }

    /// The purges that this node has applied, if it knows all.
    pub(crate) fn applied(&self) -> Option<Applied> {
        let sequence = self.floors.get()?.newest().number();
        let log = self.shared.protocol.lock().log().cloned()?;
        self.has_lease().then_some(Applied { log, sequence })
    }

    /// Whether this node has applied what another one has, or does so in a moment.
    pub(crate) async fn has_applied(&self, other: &Applied) -> bool {
        let mut consumed = self.shared.consumed.subscribe();
        let until = Instant::now() + CATCH_UP;
        loop {
            if !self.has_lease() {
                return false;
            }
            {
                let protocol = self.shared.protocol.lock();
                if protocol.log() != Some(&other.log) {
                    return false;
                }
                if protocol.applied() >= other.sequence {
                    return true;
                }
            }
            if timeout_at(until, consumed.changed()).await.is_err() {
                return false;
            }
        }
    }

    /// The history of invalidations that all nodes have.
    pub(crate) fn history(&self) -> SharedHistory {
        SharedHistory::new(Arc::clone(&self.shared))
    }

    /// The name of this node.
    pub(crate) fn node(&self) -> &str {
        &self.shared.node
    }

    /// The digest of this node's configuration.
    pub(crate) fn configuration(&self) -> String {
        self.shared.protocol.lock().info().configuration.clone()
    }

    /// What this node knows about its cluster. Updates its gauges.
    pub(crate) fn status(&self) -> ClusterStatus {
        let Shared { options, node, protocol, lease, connection, .. } = &*self.shared;
        let (now, protocol) = (BootTime::now(), protocol.lock());
        let namesake = protocol.namesake(now);
        let is_other = |member: &MemberId| member.node != *node || Some(member.process) == namesake;
        let newest = by_node(protocol.members(), is_other);
        let members = newest.into_iter().map(|(node, seen)| MemberStatus {
            node: node.to_owned(),
            applied: seen.reported,
            heartbeat_age: now.since(seen.received).as_secs(),
            may_have_lease: seen.may_have_lease(now),
            is_unconfirmed: seen.asks,
            clock_offset: seen.clock_offset(now, Clock::system().now()),
            same_configuration: seen.info.configuration == protocol.info().configuration,
        });
        let members: Vec<MemberStatus> = members.collect();
        let metrics = &self.shared.metrics;
        let has_lease = lease.is_held();
        metrics.lease.set(has_lease.into());
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
            has_lease,
            reason: (!has_lease).then(|| reason(&protocol).to_owned()),
            applied: protocol.applied(),
            name_conflict: namesake.is_some(),
            members,
        }
    }
}

/// The reason why a node may not use what it has stored.
fn reason(protocol: &Protocol) -> &'static str {
    match () {
        () if !protocol.has_joined() => "it has not read the stream yet",
        () if !protocol.is_verified() => {
            "another node must confirm that it knows all purges; without others, that takes 20 seconds"
        }
        () => "its heartbeats do not arrive",
    }
}
