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
