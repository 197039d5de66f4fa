//! Another member of a cluster.

use super::{lease::PATIENCE, node_info::NodeInfo};
use crate::base::clock::BootTime;

/// A member other than this process, as its last heartbeats said.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// It has applied the same purges as this process up to this message: their digests were equal.
    pub(super) applied: u64,
    /// It has applied the stream up to this message.
    pub(super) reported: u64,
    /// When it had applied more than before.
    pub(super) progressed: BootTime,
    pub(super) received: BootTime,
    pub(super) info: NodeInfo,
}

impl Member {
    /// Whether it consumes the stream, so that others can compare with it.
    pub(super) fn is_up(&self, now: BootTime) -> bool {
        now.since(self.progressed) <= PATIENCE
    }

    /// Whether it may still have a lease.
    pub(super) fn may_have_lease(&self, now: BootTime) -> bool {
        now.since(self.received) <= PATIENCE
    }
}
