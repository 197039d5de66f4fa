//! What a node says about itself, besides the purges that it has applied.

use serde::{Deserialize, Serialize};

/// What a node says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeInfo {
    /// A digest of its configuration, to show where nodes differ.
    pub(super) configuration: String,
    /// The time of its clock when it sent this, in milliseconds since 1970.
    #[serde(default)]
    pub(super) clock: u64,
    /// How other nodes request objects from it, if they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<PeerInfo>,
}

/// How other nodes request objects from a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PeerInfo {
    /// Host and port.
    pub(super) address: String,
    /// Its share of the objects, relative to other nodes.
    pub(super) weight: u32,
}
