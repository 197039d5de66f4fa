//! The owner of an object: the node that fetches it for the others.
//!
//! Weighted rendezvous hashing: each node has a score for each object, and the highest one wins. If a node joins or
//! leaves, only the objects that it wins have another owner.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{
    member::Member,
    message::MemberId,
    node_info::{NodeInfo, PeerInfo},
};
use crate::base::{clock::BootTime, sha256};

/// Another node, which can be asked for objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its name, which its certificate has.
    pub(crate) node: String,
    /// Host and port.
    pub(crate) address: String,
}

/// The process of each node that was heard of last.
pub(super) fn by_node(
    members: &BTreeMap<MemberId, Member>,
    is_counted: impl Fn(&MemberId) -> bool,
) -> BTreeMap<&str, &Member> {
    let mut newest = BTreeMap::<&str, &Member>::new();
    for (member, seen) in members.iter().filter(|(member, _)| is_counted(member)) {
        let known = newest.entry(&member.node).or_insert(seen);
        if known.received < seen.received {
            *known = seen;
        }
    }
    newest
}

/// The owner of an object; `None` if it is this node. Only nodes with the same configuration are asked, and those that
/// `is_usable`.
pub(super) fn owner(
    members: &BTreeMap<MemberId, Member>,
    (me, own): (&str, &NodeInfo),
    object: &[u8],
    now: BootTime,
    is_usable: impl Fn(&str) -> bool,
) -> Option<Peer> {
    let weight = own.peer.as_ref()?.weight;
    let object = sha256::first_64(object);
    let others = by_node(members, |member| member.node != me);
    let able = others.into_iter().filter_map(|(node, member)| {
        let PeerInfo { address, weight } = member.info.peer.as_ref()?;
        let is_able = member.may_have_lease(now)
            && member.info.configuration == own.configuration
            && is_usable(node);
        is_able.then_some((node, *weight, Some(address)))
    });
    let all = able.chain([(me, weight, None)]);
    let (node, _, address) = all.max_by(|(one, one_weight, _), (other, other_weight, _)| {
        let (one_score, other_score) =
            (score(object, one, *one_weight), score(object, other, *other_weight));
        // The names decide between equal scores.
        one_score.partial_cmp(&other_score).unwrap_or(Ordering::Equal).then(one.cmp(other))
    })?;
    address.map(|address| Peer { node: node.to_owned(), address: address.clone() })
}

/// The score of a node for an object. The part of all objects that it wins is its part of all weights.
#[expect(clippy::cast_precision_loss, reason = "a uniform number between 0 and 1")]
fn score(object: u64, node: &str, weight: u32) -> f64 {
    let mixed = mix(object ^ sha256::first_64(node.as_bytes()));
    let uniform = ((mixed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(weight) / uniform.ln()
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): each bit of the result depends on all bits.
const fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn winners(nodes: &[(&'static str, u32)]) -> Vec<&'static str> {
        let best = |object: u32| {
            let object = sha256::first_64(object.to_le_bytes());
            let scored = nodes.iter().map(|(node, weight)| (score(object, node, *weight), *node));
            scored.max_by(|one, other| one.0.total_cmp(&other.0)).expect("a node").1
        };
        (0..30_000).map(best).collect()
    }

    #[test]
    fn nodes_win_by_their_weights() {
        let winners = winners(&[("a", 1), ("b", 1), ("c", 2)]);
        let part = |node| winners.iter().filter(|winner| **winner == node).count();
        assert!((7_100..7_900).contains(&part("a")), "{}", part("a"));
        assert!((7_100..7_900).contains(&part("b")), "{}", part("b"));
        assert!((14_500..15_500).contains(&part("c")), "{}", part("c"));
    }

    #[test]
    fn only_objects_of_a_node_that_left_move() {
        let (before, after) =
            (winners(&[("a", 1), ("b", 1), ("c", 1)]), winners(&[("a", 1), ("c", 1)]));
        let moved = |(before, after): (&&str, &&str)| *before != *after && *before != "b";
        assert!(!before.iter().zip(&after).any(moved));
    }
}
