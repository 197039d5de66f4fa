//! Purge floors: what an operator purged, as one ordered log.
//!
//! A purge deletes nothing. It appends an entry; a stored response remembers the position of the
//! log when its request to the origin *started* and is not selectable once a later entry matches
//! it. So a fill that began before a purge is never served after it, and applying an entry twice
//! changes nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;

/// Entries kept apart. When more come in, the older half is folded into one floor for everything.
const MAX_ENTRIES: usize = 100_000;

/// A position in the purge log; later entries have higher ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition(pub(super) u64);

/// Which stored responses of a distribution a purge takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Those of one path, whatever else is in their keys.
    Exact(String),
    /// Those whose path begins so.
    Prefix(String),
}

/// The ordered log, folded into the highest position per path and per prefix.
#[derive(Debug, Default)]
pub(super) struct PurgeLog {
    position: AtomicU64,
    floors: RwLock<Floors>,
}

#[derive(Debug, Default)]
struct Floors {
    exact: HashMap<Box<[u8]>, u64>,
    /// By length, so that a lookup tries each length once.
    prefix: BTreeMap<usize, HashMap<Box<[u8]>, u64>>,
    /// Everything born before this is gone.
    horizon: u64,
    entries: usize,
}

impl PurgeLog {
    /// The position of the newest entry. One atomic load: this is on the hit path.
    pub(super) fn position(&self) -> LogPosition {
        LogPosition(self.position.load(Ordering::Acquire))
    }

    /// Appends an entry; in force when this returns.
    pub(super) fn append(&self, distribution: &str, purge: &Purge) -> LogPosition {
        let (Purge::Exact(path) | Purge::Prefix(path)) = purge;
        let resource = [distribution.as_bytes(), &[0], path.as_bytes()].concat();
        let mut floors = self.floors.write();
        let position = self.position.load(Ordering::Acquire) + 1;
        let map = match purge {
            Purge::Exact(_) => &mut floors.exact,
            Purge::Prefix(_) => floors.prefix.entry(resource.len()).or_default(),
        };
        if map.insert(resource.into_boxed_slice(), position).is_none() {
            floors.entries += 1;
        }
        if floors.entries > MAX_ENTRIES {
            floors.fold(position);
        }
        self.position.store(position, Ordering::Release);
        LogPosition(position)
    }

    /// Whether a response for `resource` (distribution, NUL, path), whose request started at
    /// `born`, has survived all entries since.
    pub(super) fn survives(&self, resource: &[u8], born: LogPosition) -> bool {
        let floors = self.floors.read();
        let purged = |floor: Option<&u64>| floor.is_some_and(|&position| position > born.0);
        let by_prefix = || {
            let lengths = floors.prefix.range(..=resource.len());
            lengths.into_iter().any(|(&length, map)| purged(map.get(&resource[..length])))
        };
        !(floors.horizon > born.0 || purged(floors.exact.get(resource)) || by_prefix())
    }
}

impl Floors {
    /// Forgets the older half of the entries and raises the horizon over them: what they would
    /// have taken away is gone with everything else of its age.
    fn fold(&mut self, newest: u64) {
        let oldest = self.horizon;
        self.horizon = oldest + (newest - oldest) / 2;
        let horizon = self.horizon;
        self.exact.retain(|_, position| *position > horizon);
        for map in self.prefix.values_mut() {
            map.retain(|_, position| *position > horizon);
        }
        self.prefix.retain(|_, map| !map.is_empty());
        self.entries = self.exact.len() + self.prefix.values().map(HashMap::len).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(log: &PurgeLog, path: &str, born: LogPosition) -> bool {
        log.survives(format!("d\0{path}").as_bytes(), born)
    }

    #[test]
    fn floors_take_what_is_older_and_matches() {
        let log = PurgeLog::default();
        let before = log.position();
        log.append("d", &Purge::Exact("/a/b.png".into()));
        let between = log.position();
        log.append("d", &Purge::Prefix("/dir".into()));
        let after = log.position();
        for (path, born, expected) in [
            ("/a/b.png", before, false),
            ("/a/b.png", between, true),
            ("/a/b.pn", before, true),
            ("/a/b.png2", before, true),
            ("/dir", between, false),
            ("/dir/x", between, false),
            ("/directory", before, false),
            ("/dir/x", after, true),
            ("/di", before, true),
        ] {
            assert_eq!(survives(&log, path, born), expected, "{path} {born:?}");
        }
        assert!(log.survives(b"other\0/a/b.png", before));
        log.append("d", &Purge::Prefix("/".into()));
        assert!(!survives(&log, "/anything", after));
    }

    #[test]
    fn a_full_log_forgets_entries_but_never_revives_what_they_purged() {
        let log = PurgeLog::default();
        let born = log.position();
        for n in 0..=MAX_ENTRIES {
            log.append("d", &Purge::Exact(format!("/{n}")));
        }
        assert!(log.floors.read().entries <= MAX_ENTRIES / 2 + 1);
        for n in [0, 1, MAX_ENTRIES / 2, MAX_ENTRIES] {
            assert!(!survives(&log, &format!("/{n}"), born), "{n}");
        }
        assert!(survives(&log, "/0", log.position()));
    }
}
