//! The state of a node that its task, its log of purges and the admin listener share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    message::MemberId, node_info::NodeInfo, options::ClusterOptions, protocol::Protocol,
    seal::Seal, stream::ClusterStream,
};
use crate::{base::metrics::ClusterMetrics, cache::store::PurgeLease};

/// The state of a node.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: ClusterOptions,
    /// The name of this node.
    pub(super) node: String,
    pub(super) seal: Seal,
    pub(super) metrics: ClusterMetrics,
    pub(super) protocol: Mutex<Protocol>,
    pub(super) lease: Arc<PurgeLease>,
    /// Whether this node has read the stream since the process started.
    pub(super) has_joined: AtomicBool,
    pub(super) connection: watch::Sender<Connection>,
    /// The last error when a purge was written.
    pub(super) last_error: Mutex<Option<String>>,
    /// Notified when messages were consumed.
    pub(super) consumed: watch::Sender<()>,
    /// Notified when others wait for a heartbeat.
    pub(super) due: Notify,
}

/// The connection to the stream.
#[derive(Clone, Debug)]
pub(super) enum Connection {
    /// With the last error.
    Down(String),
    Up(Box<ClusterStream>),
}

impl Shared {
    pub(super) fn new(
        options: ClusterOptions,
        info: NodeInfo,
        seal: Seal,
        metrics: ClusterMetrics,
    ) -> Self {
        let node = options.node();
        let member = MemberId { node: node.clone(), process: fastrand::u64(..) };
        let protocol = Protocol::new(member, info);
        Self {
            protocol: Mutex::new(protocol),
            lease: Arc::new(PurgeLease::new(options.serves_isolated)),
            has_joined: AtomicBool::new(false),
            connection: watch::channel(Connection::Down("connecting".to_owned())).0,
            last_error: Mutex::default(),
            consumed: watch::channel(()).0,
            due: Notify::new(),
            options,
            node,
            seal,
            metrics,
        }
    }

    /// The connection, once there is one.
    pub(super) async fn connected(&self) -> ClusterStream {
        let mut connection = self.connection.subscribe();
        loop {
            if let Connection::Up(stream) = &*connection.borrow_and_update() {
                return ClusterStream::clone(stream);
            }
            // `self` has the sender.
            let _ = connection.changed().await;
        }
    }

    /// Publishes what the protocol has learned.
    pub(super) fn publish(&self, protocol: &Protocol) {
        self.lease.set(protocol.lease());
        if protocol.has_joined() {
            self.has_joined.store(true, Ordering::Release);
        }
        if protocol.is_due() {
            self.due.notify_one();
        }
        self.consumed.send_replace(());
    }
}
