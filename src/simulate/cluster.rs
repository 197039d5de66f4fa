//! Simulates the nodes of a cluster.

use super::{
    Trace,
    policy::{Lru, Policy},
};

/// A cluster: viewers' requests are spread evenly over its nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: u32,
    /// Whether a node requests what it does not have from the object's owner, as in `cluster.peer_listen`.
    pub(crate) has_peer_fill: bool,
}

/// Counts of all nodes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterOutcome {
    pub(crate) requests: u64,
    /// Requests that another node answered.
    pub(crate) peer_hits: u64,
    pub(crate) origin_requests: u64,
    pub(crate) origin_bytes: u64,
}

/// One node's cache.
struct Node {
    cache: Lru,
    /// When the node's copy of each object came from the origin.
    fetched_at: Vec<u32>,
}

impl Cluster {
    /// Simulates nodes that each have a cache of `capacity` bytes, which starts empty.
    pub(crate) fn simulate(self, trace: &Trace, capacity: u64, ttl: u32) -> ClusterOutcome {
        let capacity = trace.scaled(capacity);
        let objects = trace.sizes().len();
        let node = || Node { cache: Lru::new(capacity, objects), fetched_at: vec![0; objects] };
        let mut nodes: Vec<Node> = (0..self.nodes).map(|_| node()).collect();
        let mut outcome = ClusterOutcome::default();
        for (number, request) in trace.requests().iter().enumerate() {
            let object = request.object as usize;
            let size = trace.sizes()[object];
            let ttl = trace.ttl(object, ttl);
            let is_fresh =
                |node: &Node| request.second.saturating_sub(node.fetched_at[object]) < ttl;
            let request_from = |node: &mut Node| {
                node.cache.request(request.object, size)
                    && !trace.was_purged(object, node.fetched_at[object], request.second)
            };
            let own = self.spread(number as u64);
            let mut was_stored = request_from(&mut nodes[own]);
            if was_stored && is_fresh(&nodes[own]) {
                continue;
            }
            let owner = self.spread(!u64::from(request.object));
            if self.has_peer_fill && owner != own {
                was_stored = request_from(&mut nodes[owner]);
                if was_stored && is_fresh(&nodes[owner]) {
                    outcome.peer_hits += 1;
                    // The copy keeps its age.
                    nodes[own].fetched_at[object] = nodes[owner].fetched_at[object];
                    continue;
                }
                nodes[owner].fetched_at[object] = request.second;
            }
            nodes[own].fetched_at[object] = request.second;
            outcome.origin_requests += 1;
            if !was_stored {
                outcome.origin_bytes += request.fetched(size);
            }
        }
        ClusterOutcome {
            requests: trace.total(),
            peer_hits: trace.unscaled(outcome.peer_hits),
            origin_requests: trace.unscaled(outcome.origin_requests) + trace.passed().0,
            origin_bytes: trace.unscaled(outcome.origin_bytes) + trace.passed().1,
        }
    }

    /// A node for a number, the same each time (SplitMix64).
    fn spread(self, number: u64) -> usize {
        let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let node = (mixed ^ (mixed >> 31)) % u64::from(self.nodes);
        usize::try_from(node).unwrap_or_default()
    }
}

impl ClusterOutcome {
    /// Requests that the node answered that got them.
    pub(crate) const fn hits(&self) -> u64 {
        self.requests.saturating_sub(self.peer_hits + self.origin_requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{PolicyName, Purges, TraceOptions, simulate};

    fn trace(requests: u32, objects: u32) -> Trace {
        let mut trace = Trace::new(TraceOptions {
            with_query: false,
            most: 1_000_000,
            policies: None,
            purges: Purges::default(),
        });
        for number in 0..requests {
            let path = number.wrapping_mul(2_654_435_761) % objects;
            let minute = number / 60 % 60;
            let line = format!(
                "h - - [25/Nov/2026:01:{minute:02}:{:02} +0000] \"GET /{path} HTTP/1.1\" 200 100 \"-\"",
                number % 60
            );
            trace.add(&line);
        }
        trace
    }

    #[test]
    fn one_node_is_a_cache_alone() {
        let trace = trace(3000, 200);
        for has_peer_fill in [false, true] {
            let cluster = Cluster { nodes: 1, has_peer_fill }.simulate(&trace, 5000, 1000);
            let alone = simulate(&trace, PolicyName::Lru, 5000, 1000);
            assert_eq!(cluster.origin_requests, alone.origin_requests());
            assert_eq!((cluster.hits(), cluster.peer_hits), (alone.hits, 0));
            assert_eq!(cluster.origin_bytes, alone.origin_bytes);
        }
    }

    #[test]
    fn with_peer_fill_an_object_is_fetched_once_for_all_nodes() {
        let trace = trace(3000, 100);
        let with = |has_peer_fill, ttl| {
            Cluster { nodes: 4, has_peer_fill }.simulate(&trace, 1_000_000, ttl)
        };
        let (without, filled) = (with(false, u32::MAX), with(true, u32::MAX));
        assert_eq!((without.origin_requests, without.peer_hits), (400, 0));
        assert_eq!((filled.origin_requests, filled.origin_bytes), (100, 100 * 100));
        // The first request may reach another node than the owner: then both have the object.
        assert!((200..=300).contains(&filled.peer_hits), "{filled:?}");
        assert_eq!(filled.hits() + filled.peer_hits, 2900);
        let stale = with(true, 600);
        assert!(stale.origin_requests > 300 && stale.origin_bytes == 100 * 100, "{stale:?}");
    }
}
