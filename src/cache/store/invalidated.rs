//! Paths that successful unsafe requests invalidated, in a table of fixed size.

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

/// The number of sets, and of paths in each: 262,144 paths in 4 MiB.
const SETS: usize = 1 << 14;
const WAYS: usize = 16;

/// The newest invalidation of each path (RFC 9111 §4.4).
///
/// Viewers choose the paths, so only digests are kept. The hash is keyed: viewers cannot choose which
/// paths share a set. When a set is full, its oldest entry becomes a floor for the whole set: some
/// other paths are then fetched again, but no invalidated response is served.
pub(super) struct InvalidatedPaths {
    sets: Vec<Set>,
    hasher: SipHasher13,
}

#[derive(Clone, Default)]
struct Set {
    entries: Vec<Invalidated>,
    /// The newest position among evicted entries.
    forgotten: u64,
}

#[derive(Clone, Copy)]
struct Invalidated {
    digest: u64,
    position: u64,
}

/// The invalidations of a table, for the table of another process with the same secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invalidations {
    /// Digests of paths, each with its newest position.
    paths: Vec<(u64, u64)>,
    /// Numbers of sets, each with the newest position among the paths that it no longer lists.
    sets: Vec<(usize, u64)>,
}

impl std::fmt::Debug for InvalidatedPaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InvalidatedPaths").finish_non_exhaustive()
    }
}

impl InvalidatedPaths {
    /// An empty table. The secret is the key of its hash function.
    pub(super) fn new([one, other]: [u64; 2]) -> Self {
        let hasher = SipHasher13::new_with_keys(one, other);
        Self { sets: vec![Set::default(); SETS], hasher }
    }

    /// Records that `path` was invalidated at `position`.
    pub(super) fn raise(&mut self, path: &[u8], position: u64) {
        self.raise_digest(self.hasher.hash(path), position);
    }

    fn raise_digest(&mut self, digest: u64, position: u64) {
        let set = &mut self.sets[set_of(digest)];
        if let Some(known) = set.entries.iter_mut().find(|entry| entry.digest == digest) {
            known.position = known.position.max(position);
            return;
        }
        if set.entries.len() == WAYS {
            let oldest = (0..WAYS).min_by_key(|&way| set.entries[way].position).unwrap_or(0);
            let forgotten = set.entries.swap_remove(oldest);
            set.forgotten = set.forgotten.max(forgotten.position);
        }
        set.entries.push(Invalidated { digest, position });
    }

    /// The newest position at which `path` was invalidated, or may have been.
    pub(super) fn newest(&self, path: &[u8]) -> u64 {
        let digest = self.hasher.hash(path);
        let set = &self.sets[set_of(digest)];
        let known = set.entries.iter().find(|entry| entry.digest == digest);
        known.map_or(0, |entry| entry.position).max(set.forgotten)
    }

    /// All invalidations.
    pub(super) fn all(&self) -> Invalidations {
        let entries = self.sets.iter().flat_map(|set| &set.entries);
        let sets = self.sets.iter().map(|set| set.forgotten).enumerate();
        Invalidations {
            paths: entries.map(|entry| (entry.digest, entry.position)).collect(),
            sets: sets.filter(|(_, newest)| *newest > 0).collect(),
        }
    }

    /// Adds the invalidations of a table with the same secret.
    pub(super) fn merge(&mut self, other: &Invalidations) {
        for (digest, position) in &other.paths {
            self.raise_digest(*digest, *position);
        }
        for (set, position) in &other.sets {
            if let Some(set) = self.sets.get_mut(*set) {
                set.forgotten = set.forgotten.max(*position);
            }
        }
    }
}

/// The low bits select the set; all bits identify a path within it.
fn set_of(digest: u64) -> usize {
    usize::try_from(digest % SETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_paths_invalidate_hardly_any_other() {
        let mut paths = InvalidatedPaths::new([1, 2]);
        for n in 0..102_000_u64 {
            paths.raise(format!("/{n}").as_bytes(), n + 1);
        }
        assert!((0..102_000_u64).all(|n| paths.newest(format!("/{n}").as_bytes()) > n));
        let others = (0..10_000).filter(|n| paths.newest(format!("/other/{n}").as_bytes()) > 0);
        assert!(others.count() < 100);
    }

    #[test]
    fn a_full_table_forgets_paths_but_revives_nothing() {
        let mut paths = InvalidatedPaths::new([1, 2]);
        let many = (SETS * WAYS * 2) as u64;
        for n in 0..many {
            paths.raise(&n.to_le_bytes(), n + 1);
        }
        assert!((0..many).all(|n| paths.newest(&n.to_le_bytes()) > n));
        assert!(paths.sets.iter().all(|set| set.entries.len() <= WAYS));
        let mut copy = InvalidatedPaths::new([1, 2]);
        copy.merge(&paths.all());
        assert!((0..many).all(|n| copy.newest(&n.to_le_bytes()) > n));
    }
}
