//! Another member of a cluster.

use std::time::Duration;

use super::{lease::PATIENCE, node_info::NodeInfo};
use crate::base::clock::{BootTime, Timestamp};

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
    /// Whether it waits for another node to confirm that it knows all purges.
    pub(super) asks: bool,
    /// Whether more than one heartbeat was received. The first one may be old.
    pub(super) is_heard: bool,
}

impl Member {
    /// How many seconds its clock is ahead of this node's, if that is known.
    pub(super) fn clock_offset(&self, now: BootTime, clock: Timestamp) -> Option<i64> {
        let then = clock.as_millis().saturating_sub(millis(now.since(self.received)));
        let ahead = i128::from(self.info.clock) - i128::from(then);
        let seconds = i64::try_from(ahead / 1000).unwrap_or(i64::MAX);
        (self.is_heard && self.info.clock > 0).then_some(seconds)
    }

    /// Whether it consumes the stream, so that others can compare with it.
    pub(super) fn is_up(&self, now: BootTime) -> bool {
        now.since(self.progressed) <= PATIENCE
    }

    /// Whether it may still have a lease.
    pub(super) fn may_have_lease(&self, now: BootTime) -> bool {
        now.since(self.received) <= PATIENCE
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
