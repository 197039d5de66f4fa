//! Purge floors: the purged paths, prefixes and tags, each with the log position of its newest purge.
//!
//! A purge deletes nothing. It raises a floor. A stored response records the purge position when its
//! request to the origin *started*, and cannot be selected once a later purge matches it. So a fill
//! that began before a purge is never served after it.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;

use super::{
    cache_tags::Tag,
    floor::{Floor, PurgeVerdict},
    identity::StoreIdentity,
    invalidated::{InvalidatedPaths, Invalidations},
    purge::{Purge, PurgeMode},
    purge_entry::{PurgeChange, PurgeEntry},
    purge_mark::{LogPosition, PurgeMark},
};
use crate::cache::key::Resource;

/// Memory for the entries of one distribution, in bytes. When they take more, the older half becomes
/// one floor for everything of that age in the distribution: as hard as its entries were, and no
/// harder.
const MAX_BYTES: usize = 16 << 20;

/// The purges in force: the highest position for each path, prefix and tag.
#[derive(Debug)]
pub(crate) struct PurgeFloors {
    /// The position of the newest applied entry.
    applied: AtomicU64,
    /// The number of invalidations by unsafe requests.
    invalidations: AtomicU64,
    /// Changes with every purge and invalidation. The hit path compares it.
    version: AtomicU64,
    floors: RwLock<AllFloors>,
    /// The key of the hash function of invalidated paths.
    secret: [u64; 2],
}

/// The floors of all distributions.
#[derive(Debug, Default)]
struct AllFloors {
    /// The beginning and name of the log that the entries come from: whatever is older is gone.
    log: Option<(u64, Box<str>)>,
    by_distribution: HashMap<Box<[u8]>, Floors>,
}

impl AllFloors {
    fn of(&mut self, distribution: &[u8]) -> &mut Floors {
        self.by_distribution.entry(distribution.into()).or_default()
    }

    fn is_before_log(&self, mark: PurgeMark) -> bool {
        self.log.as_ref().is_some_and(|(beginning, _)| mark.position.0 < *beginning)
    }
}

impl Default for PurgeFloors {
    fn default() -> Self {
        Self::new(StoreIdentity::ephemeral())
    }
}

impl PurgeFloors {
    /// Floors of a store with this identity.
    #[must_use]
    pub(crate) fn new(identity: StoreIdentity) -> Self {
        Self {
            applied: AtomicU64::default(),
            invalidations: AtomicU64::new(u64::from(identity.epoch) << 48),
            // Zero marks a response that was never checked.
            version: AtomicU64::new(1),
            floors: RwLock::default(),
            secret: identity.secret,
        }
    }

    /// The version of the floors. One atomic load: this is on the hit path. A response that was checked at this
    /// version needs no further check.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The current purge position. For a check, read the version first, the mark second, and the verdict
    /// last: a later mark would cover a purge that the verdict did not see.
    pub(super) fn mark(&self) -> PurgeMark {
        PurgeMark {
            position: LogPosition(self.applied.load(Ordering::Acquire)),
            invalidations: self.invalidations.load(Ordering::Acquire),
        }
    }

    /// Applies an entry of the log; in force when this returns. Entries must arrive in order of their
    /// positions. Applying one twice changes nothing.
    pub(crate) fn apply(&self, entry: &PurgeEntry) {
        let position = entry.position.0;
        self.raise(|all| {
            match &entry.change {
                PurgeChange::Purge { distribution, purge, mode } => {
                    all.of(distribution.as_bytes()).purge(purge, *mode, position);
                }
                PurgeChange::NewLog { name } => {
                    all.log = Some((position, name.clone()));
                    for floors in all.by_distribution.values_mut() {
                        let invalidated = floors.invalidated.take();
                        *floors = Floors { invalidated, ..Floors::default() };
                    }
                }
            }
            self.applied.fetch_max(position, Ordering::AcqRel);
        });
    }

    /// The position of the newest entry.
    pub(crate) fn newest(&self) -> LogPosition {
        LogPosition(self.applied.load(Ordering::Acquire))
    }

    /// The log that the entries come from, if it is not that of a single node: where it begins, and its name.
    pub(crate) fn log(&self) -> Option<(LogPosition, Box<str>)> {
        let floors = self.floors.read();
        floors.log.as_ref().map(|(beginning, name)| (LogPosition(*beginning), name.clone()))
    }

    /// Invalidates one path because a viewer's unsafe request succeeded (RFC 9111 §4.4); in force when this
    /// returns. This writes nothing to the log, so viewers cannot make the log grow. These floors have a
    /// table of fixed size.
    ///
    /// Returns the number of the invalidation.
    pub(super) fn invalidate(&self, distribution: &str, path: &str) -> u64 {
        self.raise(|all| {
            let number = self.invalidations.load(Ordering::Acquire) + 1;
            self.invalidated_of(all, distribution.as_bytes()).raise(path.as_bytes(), number);
            self.invalidations.store(number, Ordering::Release);
            number
        })
    }

    /// Whether a path was invalidated, or may have been.
    pub(super) fn was_invalidated(&self, distribution: &str, path: &str) -> bool {
        let floors = self.floors.read();
        let of = floors.by_distribution.get(distribution.as_bytes());
        let paths = of.and_then(|floors| floors.invalidated.as_ref());
        paths.is_some_and(|paths| paths.newest(path.as_bytes()) > 0)
    }

    /// Repeats an invalidation of an earlier epoch.
    pub(crate) fn repeat_invalidation(&self, distribution: &[u8], path: &[u8], number: u64) {
        self.raise(|all| {
            self.invalidated_of(all, distribution).raise(path, number);
        });
    }

    fn invalidated_of<'a>(
        &self,
        all: &'a mut AllFloors,
        distribution: &[u8],
    ) -> &'a mut InvalidatedPaths {
        let invalidated = &mut all.of(distribution).invalidated;
        invalidated.get_or_insert_with(|| Box::new(InvalidatedPaths::new(self.secret)))
    }

    /// The invalidations, by distribution.
    pub(crate) fn invalidations(&self) -> Vec<(String, Invalidations)> {
        let of = |distribution: &[u8], floors: &Floors| {
            let all = floors.invalidated.as_ref()?.all();
            Some((String::from_utf8_lossy(distribution).into_owned(), all))
        };
        let all = self.floors.read();
        all.by_distribution.iter().filter_map(|(id, floors)| of(id, floors)).collect()
    }

    /// Adds the invalidations of another process, whose floors have the same secret, and which stored nothing since this
    /// process began.
    pub(crate) fn merge_invalidations(&self, others: Vec<(String, Invalidations)>) {
        self.raise(|all| {
            for (distribution, others) in others {
                self.invalidated_of(all, distribution.as_bytes()).merge(&others);
            }
        });
    }

    fn raise<T>(&self, raise: impl FnOnce(&mut AllFloors) -> T) -> T {
        let mut floors = self.floors.write();
        let raised = raise(&mut floors);
        self.version.fetch_add(1, Ordering::AcqRel);
        raised
    }

    /// The entries in force, in an order in which they can be applied to other floors: by position.
    pub(crate) fn entries(&self) -> Vec<PurgeEntry> {
        let all = self.floors.read();
        let of_log = all.log.as_ref().map(|(beginning, name)| PurgeEntry {
            position: LogPosition(*beginning),
            change: PurgeChange::NewLog { name: name.clone() },
        });
        let distributions = all.by_distribution.iter();
        let purges = distributions.flat_map(|(distribution, floors)| floors.entries(distribution));
        let mut entries: Vec<_> = of_log.into_iter().chain(purges).collect();
        entries.sort_by_key(|entry| entry.position);
        entries
    }

    /// The verdict on a response for `resource` that has these tags and whose request started at `mark`.
    pub(super) fn remains(
        &self,
        resource: &Resource<'_>,
        tags: &[Tag],
        mark: PurgeMark,
    ) -> PurgeVerdict {
        let all = self.floors.read();
        if all.is_before_log(mark) {
            return PurgeVerdict::Nothing;
        }
        all.by_distribution.get(resource.distribution).map_or(PurgeVerdict::All, |floors| {
            floors.remains(resource.generous_path().as_bytes(), tags, mark)
        })
    }

    /// Whether no purge since `mark` affects a request for `resource` that started then. The tags of its
    /// response are not known yet, so a purge of any tag counts.
    pub(super) fn untouched(&self, resource: &Resource<'_>, mark: PurgeMark) -> bool {
        let all = self.floors.read();
        let floors = all.by_distribution.get(resource.distribution);
        !all.is_before_log(mark)
            && floors.is_none_or(|floors| {
                let path = resource.generous_path();
                floors.newest_tag <= mark.position.0
                    && floors.remains(path.as_bytes(), &[], mark) == PurgeVerdict::All
            })
    }
}

/// The floors of one distribution. Paths are in their generous reading, so that a purge of `/a` also
/// covers responses stored as `//a`.
#[derive(Debug, Default)]
struct Floors {
    exact: HashMap<Box<[u8]>, Floor>,
    /// Prefixes by length, so that a lookup tries each length once.
    prefix: BTreeMap<usize, HashMap<Box<[u8]>, Floor>>,
    tags: HashMap<Tag, Floor>,
    /// The newest purge of any tag.
    newest_tag: u64,
    invalidated: Option<Box<InvalidatedPaths>>,
    /// The horizon: the effect of dropped entries, applied to every response of their age.
    horizon: Floor,
    /// Approximate memory of the entries of the three maps.
    bytes: usize,
}

impl Floors {
    fn purge(&mut self, purge: &Purge, mode: PurgeMode, position: u64) {
        let (floor, length) = match purge {
            Purge::Exact(path) => {
                let entry = self.exact.entry(path.as_bytes().into());
                let is_new = matches!(entry, Entry::Vacant(_));
                (entry.or_default(), is_new.then_some(path.len()))
            }
            Purge::Prefix(path) => {
                let entry =
                    self.prefix.entry(path.len()).or_default().entry(path.as_bytes().into());
                let is_new = matches!(entry, Entry::Vacant(_));
                (entry.or_default(), is_new.then_some(path.len()))
            }
            Purge::Tag(tag) => {
                self.newest_tag = self.newest_tag.max(position);
                let entry = self.tags.entry(*tag);
                let is_new = matches!(entry, Entry::Vacant(_));
                (entry.or_default(), is_new.then_some(0))
            }
        };
        floor.raise(mode, position);
        self.bytes += length.map_or(0, entry_size);
        while self.bytes > MAX_BYTES {
            self.forget_older_half();
        }
    }

    /// The entries that these floors are made of. The horizon is a purge of the empty prefix.
    fn entries(&self, distribution: &[u8]) -> Vec<PurgeEntry> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let exact = self.exact.iter().map(|(path, floor)| (Purge::Exact(text(path)), floor));
        let prefixes = self.prefix.values().flatten();
        let prefixes = prefixes.map(|(path, floor)| (Purge::Prefix(text(path)), floor));
        let tags = self.tags.iter().map(|(tag, floor)| (Purge::Tag(*tag), floor));
        let horizon = (Purge::Prefix(String::new()), &self.horizon);
        let floors = exact.chain(prefixes).chain(tags).chain([horizon]);
        let distribution: Box<str> = text(distribution).into();
        let modes = |(purge, floor): (Purge, &Floor)| {
            [(floor.hard, PurgeMode::Hard), (floor.soft, PurgeMode::Soft)].map(|(at, mode)| {
                let (distribution, purge) = (distribution.clone(), purge.clone());
                let change = PurgeChange::Purge { distribution, purge, mode };
                PurgeEntry { position: LogPosition(at), change }
            })
        };
        floors.flat_map(modes).filter(|entry| entry.position.0 > 0).collect()
    }

    fn remains(&self, path: &[u8], tags: &[Tag], mark: PurgeMark) -> PurgeVerdict {
        let exact = self.exact.get(path);
        let lengths = self.prefix.range(..=path.len());
        let prefixes = lengths.filter_map(|(&length, map)| map.get(&path[..length]));
        let tagged = tags.iter().filter_map(|tag| self.tags.get(tag));
        let matching = exact.into_iter().chain(prefixes).chain(tagged);
        let position = mark.position.0;
        let purged =
            matching.map(|floor| floor.remains(position)).min().unwrap_or(PurgeVerdict::All);
        let invalidated = self.invalidated.as_ref().map_or(0, |paths| paths.newest(path));
        if invalidated > mark.invalidations {
            return PurgeVerdict::Nothing;
        }
        purged.min(self.horizon.remains(position))
    }

    /// Drops the older half of the entries and raises the horizon over them. A flood of soft purges makes
    /// everything stale, not gone.
    fn forget_older_half(&mut self) {
        let prefixes = self.prefix.values().flat_map(HashMap::values);
        let all = self.exact.values().chain(prefixes).chain(self.tags.values());
        let mut positions: Vec<u64> = all.map(|floor| floor.newest()).collect();
        let middle = positions.len() / 2;
        let (_, &mut median, _) = positions.select_nth_unstable(middle);
        let Self { exact, prefix, tags, horizon, bytes, .. } = self;
        *bytes = 0;
        let mut keep = |floor: &Floor, length: usize| {
            if floor.newest() > median {
                *bytes += entry_size(length);
                return true;
            }
            horizon.hard = horizon.hard.max(floor.hard);
            horizon.soft = horizon.soft.max(floor.soft);
            false
        };
        exact.retain(|path, floor| keep(floor, path.len()));
        for map in prefix.values_mut() {
            map.retain(|path, floor| keep(floor, path.len()));
        }
        prefix.retain(|_, map| !map.is_empty());
        tags.retain(|_, floor| keep(floor, 0));
    }
}

/// Approximate memory of an entry whose path has this length: the path, its pointer, the floor, and the
/// overhead of a hash table.
const fn entry_size(length: usize) -> usize {
    length + 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::PathForm;

    /// Floors, and the positions that a log assigns.
    struct Log {
        floors: PurgeFloors,
        newest: AtomicU64,
    }

    impl Log {
        fn new() -> Self {
            Self { floors: PurgeFloors::default(), newest: AtomicU64::new(0) }
        }

        fn append(&self, distribution: &str, purge: &Purge, mode: PurgeMode) {
            let position = LogPosition(self.newest.fetch_add(1, Ordering::Relaxed) + 1);
            let (distribution, purge) = (distribution.into(), purge.clone());
            let change = PurgeChange::Purge { distribution, purge, mode };
            self.floors.apply(&PurgeEntry { position, change });
        }

        fn bytes(&self) -> usize {
            self.floors.floors.read().by_distribution[&b"d"[..]].bytes
        }
    }

    impl std::ops::Deref for Log {
        type Target = PurgeFloors;

        fn deref(&self) -> &PurgeFloors {
            &self.floors
        }
    }

    fn of<'a>(distribution: &'a str, path: &'a str) -> Resource<'a> {
        Resource { distribution: distribution.as_bytes(), path, form: PathForm::Key }
    }

    fn survives(log: &Log, path: &str, mark: PurgeMark) -> bool {
        log.remains(&of("d", path), &[], mark) == PurgeVerdict::All
    }

    fn purge(log: &Log, purge: &Purge) {
        log.append("d", purge, PurgeMode::Hard);
    }

    #[test]
    fn floors_take_what_is_older_and_matches() {
        let log = Log::new();
        let before = log.mark();
        purge(&log, &Purge::Exact("/a/b.png".into()));
        let between = log.mark();
        purge(&log, &Purge::Prefix("/dir".into()));
        let after = log.mark();
        for (path, mark, expected) in [
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
            assert_eq!(survives(&log, path, mark), expected, "{path} {mark:?}");
        }
        assert_eq!(log.remains(&of("other", "/a/b.png"), &[], before), PurgeVerdict::All);
        purge(&log, &Purge::Prefix("/".into()));
        assert!(!survives(&log, "/anything", after));
    }

    #[test]
    fn a_purge_covers_every_spelling_that_an_origin_may_read_alike() {
        for (purged, stored) in [
            (Purge::Exact("/a".into()), &["/a", "//a", "/\\a", "/%5Ca", "/%2Fa"][..]),
            (Purge::Prefix("/dir/".into()), &["/dir/x", "//dir//x", "/dir%2Fx"]),
        ] {
            let log = Log::new();
            let mark = log.mark();
            purge(&log, &purged);
            for path in stored {
                assert!(!survives(&log, path, mark), "{purged:?} {path}");
            }
            assert!(survives(&log, "/b", mark));
        }
        let log = Log::new();
        let mark = log.mark();
        purge(&log, &Purge::Prefix("/a/".into()));
        assert!(!survives(&log, "/a/%2e%2e/b", mark), "a key is not decoded again");
        let uri = Resource { distribution: b"d", path: "/a%2Fb%20c", form: PathForm::Uri };
        assert_eq!(log.remains(&uri, &[], mark), PurgeVerdict::Nothing);
    }

    #[test]
    fn a_full_log_forgets_entries_but_never_revives_what_they_purged() {
        let log = Log::new();
        let mark = log.mark();
        let many = MAX_BYTES / entry_size(6) + 1;
        for n in 0..=many {
            purge(&log, &Purge::Exact(format!("/{n:05}")));
        }
        let bytes = log.bytes();
        assert!(bytes < MAX_BYTES * 2 / 3, "{bytes}");
        for n in [0, 1, many / 2, many] {
            assert!(!survives(&log, &format!("/{n:05}"), mark), "{n}");
        }
        assert!(survives(&log, "/00000", log.mark()));
        assert_eq!(log.remains(&of("other", "/00000"), &[], mark), PurgeVerdict::All);
    }

    #[test]
    fn long_paths_are_counted_by_their_length() {
        let log = Log::new();
        for n in 0..20_000 {
            purge(&log, &Purge::Exact(format!("/{n}/{}", "a".repeat(4_000))));
        }
        assert!(log.bytes() <= MAX_BYTES);
    }

    #[test]
    fn a_flood_of_soft_purges_leaves_everything_stale_and_not_gone() {
        let log = Log::new();
        let first = log.mark();
        log.append("d", &Purge::Exact("/gone".into()), PurgeMode::Hard);
        let mark = log.mark();
        for n in 0..=MAX_BYTES / entry_size(6) {
            log.append("d", &Purge::Exact(format!("/{n:05}")), PurgeMode::Soft);
        }
        assert_eq!(log.remains(&of("d", "/other"), &[], mark), PurgeVerdict::Stale);
        assert_eq!(log.remains(&of("d", "/other"), &[], first), PurgeVerdict::Nothing);
        assert_eq!(log.remains(&of("d", "/other"), &[], log.mark()), PurgeVerdict::All);
    }

    #[test]
    fn unsafe_requests_invalidate_their_path_and_fill_no_log() {
        let log = Log::new();
        let mark = log.mark();
        log.invalidate("d", "/a");
        assert!(!survives(&log, "/a", mark) && !survives(&log, "//a", mark));
        assert!(survives(&log, "/b", mark) && survives(&log, "/a", log.mark()));
        assert_eq!(log.remains(&of("other", "/a"), &[], mark), PurgeVerdict::All);
        let bytes = log.bytes();
        assert_eq!(bytes, 0);
    }

    #[test]
    fn an_entry_applied_twice_changes_nothing() {
        let log = Log::new();
        log.append("d", &Purge::Exact("/a".into()), PurgeMode::Hard);
        let after = log.mark();
        for entry in log.entries() {
            log.apply(&entry);
        }
        assert_eq!(log.mark(), after);
        assert!(survives(&log, "/a", after));
    }

    #[test]
    fn tags_are_purged_whatever_the_path() {
        let log = Log::new();
        let mark = log.mark();
        let tags = ["Product-1", "sale"].map(Tag::new);
        let remains = |tags: &[Tag]| log.remains(&of("d", "/a"), tags, mark);
        log.append("d", &Purge::Tag(Tag::new("other")), PurgeMode::Hard);
        assert_eq!(remains(&tags), PurgeVerdict::All);
        log.append("other", &Purge::Tag(tags[0]), PurgeMode::Hard);
        assert_eq!(remains(&tags), PurgeVerdict::All);
        assert!(!log.untouched(&of("d", "/a"), mark), "it may bear any tag");
        log.append("d", &Purge::Tag(Tag::new("PRODUCT-1")), PurgeMode::Soft);
        assert_eq!((remains(&tags), remains(&[])), (PurgeVerdict::Stale, PurgeVerdict::All));
        log.append("d", &Purge::Tag(Tag::new("Sale")), PurgeMode::Hard);
        assert_eq!(remains(&tags), PurgeVerdict::Nothing);
        assert_eq!(log.remains(&of("d", "/a"), &tags, log.mark()), PurgeVerdict::All);
        assert!(log.untouched(&of("d", "/a"), log.mark()));
    }

    #[test]
    fn the_harder_of_two_purges_counts() {
        let log = Log::new();
        let mark = log.mark();
        log.append("d", &Purge::Exact("/a".into()), PurgeMode::Soft);
        assert_eq!(log.remains(&of("d", "/a"), &[], mark), PurgeVerdict::Stale);
        log.append("d", &Purge::Prefix("/".into()), PurgeMode::Hard);
        log.append("d", &Purge::Exact("/a".into()), PurgeMode::Soft);
        assert_eq!(log.remains(&of("d", "/a"), &[], mark), PurgeVerdict::Nothing);
    }

    #[test]
    fn nothing_older_than_a_new_log_remains() {
        let log = Log::new();
        let first = log.mark();
        purge(&log, &Purge::Exact("/a".into()));
        let before = log.mark();
        let position = LogPosition::new(1, 7);
        let change = PurgeChange::NewLog { name: "media".into() };
        log.apply(&PurgeEntry { position, change });
        for mark in [first, before] {
            assert!(!survives(&log, "/b", mark) && !log.untouched(&of("new", "/b"), mark));
        }
        assert!(survives(&log, "/a", log.mark()) && log.untouched(&of("d", "/a"), log.mark()));
        assert_eq!(log.entries().len(), 1, "it covers older purges");
        let copy = PurgeFloors::default();
        for entry in log.entries() {
            copy.apply(&entry);
        }
        assert_eq!((copy.log(), copy.newest()), (Some((position, "media".into())), position));
    }
}
