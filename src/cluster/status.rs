//! What a node knows about its cluster.

use serde::{Deserialize, Serialize};

/// What a node knows about its cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ClusterStatus {
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// The name of this node.
    pub(crate) node: String,
    /// The error, if there is no connection to NATS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection_error: Option<String>,
    /// Whether this node may use what it has stored.
    pub(crate) has_lease: bool,
    /// The reason, if it may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The newest message of the stream that this node has applied.
    pub(crate) applied: u64,
    /// Whether another process uses the name of this node.
    pub(crate) name_conflict: bool,
    /// The other nodes, by name.
    pub(crate) members: Vec<MemberStatus>,
}

/// What a node knows about another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MemberStatus {
    /// Its name.
    pub(crate) node: String,
    /// The newest message of the stream that it has applied.
    pub(crate) applied: u64,
    /// Seconds since its last heartbeat.
    pub(crate) heartbeat_age: u64,
    /// Whether it may still use what it has stored.
    pub(crate) may_have_lease: bool,
    /// Whether it waits for another node to confirm that it knows all purges.
    #[serde(default)]
    pub(crate) is_unconfirmed: bool,
    /// How many seconds its clock is ahead of this node's, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clock_offset: Option<i64>,
    /// Whether its configuration file is the same as that of this node.
    pub(crate) same_configuration: bool,
}

/// The largest difference of clocks that is not reported, in seconds. A heartbeat may have been under way as long.
const SAME_CLOCK: u64 = 5;

/// What is wrong with the clock of a node that is so many seconds ahead.
pub(crate) fn clock_fault(offset: Option<i64>) -> Option<String> {
    let offset = offset.filter(|offset| offset.unsigned_abs() > SAME_CLOCK)?;
    let way = if offset > 0 { "ahead of" } else { "behind" };
    Some(format!("its clock is {} s {way} this node's", offset.unsigned_abs()))
}
