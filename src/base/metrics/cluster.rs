//! Metrics of a cluster.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Metrics of a node's part in its cluster.
#[derive(Clone, Debug)]
pub struct ClusterMetrics {
    /// Whether this node knows all purges: 0 while it is cut off.
    pub lease: Gauge,
    /// The newest message of the stream that this node has applied.
    pub applied: Gauge,
    /// Other nodes that may use what they have stored.
    pub members: Gauge,
    /// How often everything stored became invalid, because the stream may have lost purges.
    pub losses: Counter,
    /// The time from a purge's request until it is in force on all nodes.
    pub purge_seconds: Histogram,
}

/// Metrics of the objects that nodes request from each other.
#[derive(Clone, Debug, Default)]
pub struct PeerMetrics {
    /// Responses from a peer's cache.
    pub hits: Counter,
    /// Responses that a peer fetched from the origin.
    pub misses: Counter,
    /// Requests that a peer refused, and that went to the origin.
    pub refused: Counter,
    /// Requests that a peer did not answer, or whose origin failed.
    pub failed: Counter,
    /// Requests of peers that this node answered.
    pub answered: Counter,
}

impl PeerMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "cluster_peer_hits",
            "Responses that came from the cache of another node instead of the origin",
            self.hits.clone(),
        );
        r.register(
            "cluster_peer_misses",
            "Responses that another node fetched from the origin for this one",
            self.misses.clone(),
        );
        r.register(
            "cluster_peer_refused",
            "Requests that another node refused, and that went to the origin",
            self.refused.clone(),
        );
        r.register(
            "cluster_peer_failed",
            "Requests that another node did not answer, or whose origin failed",
            self.failed.clone(),
        );
        r.register(
            "cluster_peer_answered",
            "Requests of other nodes that this node answered",
            self.answered.clone(),
        );
    }
}

impl Default for ClusterMetrics {
    fn default() -> Self {
        Self {
            lease: Gauge::default(),
            applied: Gauge::default(),
            members: Gauge::default(),
            losses: Counter::default(),
            purge_seconds: super::latency(),
        }
    }
}

impl ClusterMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "cluster_lease",
            "Whether this node knows all purges of its cluster; 0 while it is cut off",
            self.lease.clone(),
        );
        r.register(
            "cluster_applied",
            "The newest message of the cluster's stream that this node has applied",
            self.applied.clone(),
        );
        r.register(
            "cluster_members",
            "Other nodes that may use what they have stored",
            self.members.clone(),
        );
        r.register(
            "cluster_losses",
            "How often everything stored became invalid, because the stream may have lost purges",
            self.losses.clone(),
        );
        r.register_with_unit(
            "cluster_purge_duration",
            "Time from a purge's request until it is in force on all nodes",
            Unit::Seconds,
            self.purge_seconds.clone(),
        );
    }
}
