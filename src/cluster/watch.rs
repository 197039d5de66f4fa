//! Logs what happens to this node's membership, and what is wrong with other nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::sleep;

use super::{ownership::by_node, shared::Shared, status::clock_fault};
use crate::base::clock::{BootTime, Clock};

/// How often the lease is looked at for the log.
const LOOK: Duration = Duration::from_secs(1);

/// Logs when the lease runs out, when this node gets another one, and what is wrong with others.
pub(super) async fn watch(shared: Arc<Shared>) {
    let (mut was_member, mut had_namesake) = (false, false);
    let mut wrong_clocks = BTreeSet::new();
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
        let namesake = shared.protocol.lock().namesake(BootTime::now());
        if let (false, Some(process)) = (had_namesake, namesake) {
            let node = &shared.node;
            tracing::warn!(
                node,
                process,
                "another process in the cluster has the name of this node; unless one of them is about to end, give each node a name of its own in `cluster.node`"
            );
        }
        (was_member, had_namesake) = (is_member, namesake.is_some());
        let faults = clock_faults(&shared);
        for (node, fault) in faults.iter().filter(|(node, _)| !wrong_clocks.contains(*node)) {
            tracing::warn!(
                node,
                "a node has another time: {fault}; run a time service such as chrony on all nodes, or ages and the expiry of signed URLs differ"
            );
        }
        wrong_clocks = faults.into_keys().collect();
        sleep(LOOK).await;
    }
}

/// The nodes whose clocks are wrong, or right while that of this node is wrong.
fn clock_faults(shared: &Shared) -> BTreeMap<String, String> {
    let (now, clock) = (BootTime::now(), Clock::system().now());
    let protocol = shared.protocol.lock();
    let others = by_node(protocol.members(), |member| member.node != shared.node);
    let faults = others.into_iter().filter(|(_, member)| member.is_up(now));
    let faults = faults.filter_map(|(node, member)| {
        let fault = clock_fault(member.clock_offset(now, clock))?;
        Some((node.to_owned(), fault))
    });
    faults.collect()
}
