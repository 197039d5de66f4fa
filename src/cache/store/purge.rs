//! Purge floors: what was purged, as one ordered log.
//!
//! A purge deletes nothing. It appends an entry. A stored response remembers the position of the log when
//! its request to the origin *started*, and cannot be selected once a later entry matches it. So a fill
//! that began before a purge is never served after it, and applying an entry twice changes nothing.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use super::invalidated::InvalidatedPaths;
use crate::cache::key::Resource;

/// Memory for the entries of one distribution, in bytes. When they take more, the older half becomes one
/// floor for everything of that age in the distribution: as hard as its entries were, and no harder.
const MAX_BYTES: usize = 16 << 20;

/// A position in the purge log; later entries have higher ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition(pub(super) u64);

/// Which stored responses of a distribution a purge is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Those of one path, in its generous reading, whatever else is in their keys.
    Exact(String),
    /// Those whose path, in its generous reading, begins so.
    Prefix(String),
    /// Those that bear a tag.
    Tag(Tag),
}

/// What a purge does to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PurgeMode {
    /// They are gone.
    #[default]
    Hard,
    /// They are stale: each is validated before it is used again.
    Soft,
}

/// A cache tag, told apart from others by a digest.
///
/// Tags are compared without regard to case (Amazon CloudFront Developer Guide, "Invalidate by cache
/// tag").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(u64);

impl Tag {
    /// Whether a text can be a tag's name: up to 256 visible characters of ASCII but the comma.
    #[must_use]
    pub fn is_name(text: &str) -> bool {
        let visible = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        (1..=256).contains(&text.len()) && text.bytes().all(visible)
    }

    /// The tag of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let digest = Sha256::digest(name.to_ascii_lowercase());
        Self(digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
    }
}

/// The cache tags of a response. One pointer: most have none.
#[derive(Clone, Debug, Default)]
#[expect(clippy::box_collection, reason = "there is one in every stored response")]
pub struct CacheTags(Option<Box<Vec<Tag>>>);

impl FromIterator<Tag> for CacheTags {
    fn from_iter<T: IntoIterator<Item = Tag>>(tags: T) -> Self {
        let tags: Vec<Tag> = tags.into_iter().collect();
        Self((!tags.is_empty()).then(|| Box::new(tags)))
    }
}

impl std::ops::Deref for CacheTags {
    type Target = [Tag];

    fn deref(&self) -> &[Tag] {
        self.0.as_ref().map_or(&[], |tags| tags)
    }
}

/// What of a response remains after the purges since its request started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PurgeVerdict {
    /// Nothing.
    Nothing,
    /// A stale response.
    Stale,
    /// All of it.
    All,
}

/// The ordered log of purges, kept as the highest position for each path, prefix and tag.
#[derive(Debug, Default)]
pub(super) struct PurgeLog {
    position: AtomicU64,
    /// By distribution.
    floors: RwLock<HashMap<Box<[u8]>, Floors>>,
}

impl PurgeLog {
    /// The position of the newest entry. One atomic load: this is on the hit path.
    pub(super) fn position(&self) -> LogPosition {
        LogPosition(self.position.load(Ordering::Acquire))
    }

    /// Appends an operator's purge; in force when this returns.
    pub(super) fn append(&self, distribution: &str, purge: &Purge, mode: PurgeMode) -> LogPosition {
        self.raise(distribution, |floors, position| floors.purge(purge, mode, position))
    }

    /// Invalidates one path because a viewer's unsafe request succeeded (RFC 9111 §4.4); in force when
    /// this returns. Viewers cannot make the log grow: these floors have a table of fixed size.
    pub(super) fn invalidate(&self, distribution: &str, path: &str) -> LogPosition {
        self.raise(distribution, |floors, position| {
            floors.invalidated.get_or_insert_default().raise(path.as_bytes(), position);
        })
    }

    fn raise(&self, distribution: &str, raise: impl FnOnce(&mut Floors, u64)) -> LogPosition {
        let mut floors = self.floors.write();
        let position = self.position.load(Ordering::Acquire) + 1;
        raise(floors.entry(distribution.as_bytes().into()).or_default(), position);
        self.position.store(position, Ordering::Release);
        LogPosition(position)
    }

    /// What remains of a response for `resource` that has these tags and whose request started at
    /// `purge_seq`.
    pub(super) fn remains(
        &self,
        resource: &Resource<'_>,
        tags: &[Tag],
        purge_seq: LogPosition,
    ) -> PurgeVerdict {
        let floors = self.floors.read();
        floors.get(resource.distribution).map_or(PurgeVerdict::All, |floors| {
            floors.remains(resource.generous_path().as_bytes(), tags, purge_seq)
        })
    }

    /// Whether no purge since `purge_seq` concerns a request for `resource` that started then. The tags of
    /// its response are not known yet, so a purge of any tag counts.
    pub(super) fn untouched(&self, resource: &Resource<'_>, purge_seq: LogPosition) -> bool {
        let floors = self.floors.read();
        floors.get(resource.distribution).is_none_or(|floors| {
            let path = resource.generous_path();
            floors.newest_tag <= purge_seq.0
                && floors.remains(path.as_bytes(), &[], purge_seq) == PurgeVerdict::All
        })
    }
}

/// The newest positions at which something was purged; zero if it never was.
#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    hard: u64,
    soft: u64,
}

impl Floor {
    fn raise(&mut self, mode: PurgeMode, position: u64) {
        match mode {
            PurgeMode::Hard => self.hard = position,
            PurgeMode::Soft => self.soft = position,
        }
    }

    fn remains(self, purge_seq: LogPosition) -> PurgeVerdict {
        if self.hard > purge_seq.0 {
            PurgeVerdict::Nothing
        } else if self.soft > purge_seq.0 {
            PurgeVerdict::Stale
        } else {
            PurgeVerdict::All
        }
    }

    const fn newest(self) -> u64 {
        if self.hard > self.soft { self.hard } else { self.soft }
    }
}

/// The floors of one distribution. Paths are in their generous reading, so that a purge of `/a` also
/// covers what is stored as `//a`.
#[derive(Debug, Default)]
struct Floors {
    exact: HashMap<Box<[u8]>, Floor>,
    /// By length, so that a lookup tries each length once.
    prefix: BTreeMap<usize, HashMap<Box<[u8]>, Floor>>,
    tags: HashMap<Tag, Floor>,
    /// The newest purge of any tag.
    newest_tag: u64,
    invalidated: Option<Box<InvalidatedPaths>>,
    /// Covers everything: what forgotten entries did to some, this does to all of their age.
    horizon: Floor,
    /// Memory that the entries of the three maps take, about.
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
                self.newest_tag = position;
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

    fn remains(&self, path: &[u8], tags: &[Tag], purge_seq: LogPosition) -> PurgeVerdict {
        let exact = self.exact.get(path);
        let lengths = self.prefix.range(..=path.len());
        let prefixes = lengths.filter_map(|(&length, map)| map.get(&path[..length]));
        let tagged = tags.iter().filter_map(|tag| self.tags.get(tag));
        let matching = exact.into_iter().chain(prefixes).chain(tagged);
        let purged =
            matching.map(|floor| floor.remains(purge_seq)).min().unwrap_or(PurgeVerdict::All);
        let invalidated = self.invalidated.as_ref().map_or(0, |paths| paths.newest(path));
        let invalidated = Floor { hard: invalidated, soft: 0 };
        purged.min(self.horizon.remains(purge_seq)).min(invalidated.remains(purge_seq))
    }

    /// Forgets the older half of the entries and raises the horizon over them. A flood of soft purges
    /// leaves everything stale, not gone.
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

/// Memory of an entry whose path has this length, about: the path, its pointer, the floor, and what a
/// hash table adds.
const fn entry_size(length: usize) -> usize {
    length + 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::PathForm;

    fn of<'a>(distribution: &'a str, path: &'a str) -> Resource<'a> {
        Resource { distribution: distribution.as_bytes(), path, form: PathForm::Key }
    }

    fn survives(log: &PurgeLog, path: &str, purge_seq: LogPosition) -> bool {
        log.remains(&of("d", path), &[], purge_seq) == PurgeVerdict::All
    }

    fn purge(log: &PurgeLog, purge: &Purge) {
        log.append("d", purge, PurgeMode::Hard);
    }

    #[test]
    fn floors_take_what_is_older_and_matches() {
        let log = PurgeLog::default();
        let before = log.position();
        purge(&log, &Purge::Exact("/a/b.png".into()));
        let between = log.position();
        purge(&log, &Purge::Prefix("/dir".into()));
        let after = log.position();
        for (path, purge_seq, expected) in [
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
            assert_eq!(survives(&log, path, purge_seq), expected, "{path} {purge_seq:?}");
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
            let log = PurgeLog::default();
            let purge_seq = log.position();
            purge(&log, &purged);
            for path in stored {
                assert!(!survives(&log, path, purge_seq), "{purged:?} {path}");
            }
            assert!(survives(&log, "/b", purge_seq));
        }
        let log = PurgeLog::default();
        let purge_seq = log.position();
        purge(&log, &Purge::Prefix("/a/".into()));
        assert!(!survives(&log, "/a/%2e%2e/b", purge_seq), "a key is not decoded again");
        let uri = Resource { distribution: b"d", path: "/a%2Fb%20c", form: PathForm::Uri };
        assert_eq!(log.remains(&uri, &[], purge_seq), PurgeVerdict::Nothing);
    }

    #[test]
    fn a_full_log_forgets_entries_but_never_revives_what_they_purged() {
        let log = PurgeLog::default();
        let purge_seq = log.position();
        let many = MAX_BYTES / entry_size(6) + 1;
        for n in 0..=many {
            purge(&log, &Purge::Exact(format!("/{n:05}")));
        }
        let bytes = log.floors.read()[&b"d"[..]].bytes;
        assert!(bytes < MAX_BYTES * 2 / 3, "{bytes}");
        for n in [0, 1, many / 2, many] {
            assert!(!survives(&log, &format!("/{n:05}"), purge_seq), "{n}");
        }
        assert!(survives(&log, "/00000", log.position()));
        assert_eq!(log.remains(&of("other", "/00000"), &[], purge_seq), PurgeVerdict::All);
    }

    #[test]
    fn long_paths_are_counted_by_their_length() {
        let log = PurgeLog::default();
        for n in 0..20_000 {
            purge(&log, &Purge::Exact(format!("/{n}/{}", "a".repeat(4_000))));
        }
        assert!(log.floors.read()[&b"d"[..]].bytes <= MAX_BYTES);
    }

    #[test]
    fn a_flood_of_soft_purges_leaves_everything_stale_and_not_gone() {
        let log = PurgeLog::default();
        let first = log.position();
        log.append("d", &Purge::Exact("/gone".into()), PurgeMode::Hard);
        let purge_seq = log.position();
        for n in 0..=MAX_BYTES / entry_size(6) {
            log.append("d", &Purge::Exact(format!("/{n:05}")), PurgeMode::Soft);
        }
        assert_eq!(log.remains(&of("d", "/other"), &[], purge_seq), PurgeVerdict::Stale);
        assert_eq!(log.remains(&of("d", "/other"), &[], first), PurgeVerdict::Nothing);
        assert_eq!(log.remains(&of("d", "/other"), &[], log.position()), PurgeVerdict::All);
    }

    #[test]
    fn unsafe_requests_invalidate_their_path_and_fill_no_log() {
        let log = PurgeLog::default();
        let purge_seq = log.position();
        log.invalidate("d", "/a");
        assert!(!survives(&log, "/a", purge_seq) && !survives(&log, "//a", purge_seq));
        assert!(survives(&log, "/b", purge_seq) && survives(&log, "/a", log.position()));
        assert_eq!(log.remains(&of("other", "/a"), &[], purge_seq), PurgeVerdict::All);
        let bytes = log.floors.read()[&b"d"[..]].bytes;
        assert_eq!(bytes, 0);
    }

    #[test]
    fn tags_are_purged_whatever_the_path() {
        let log = PurgeLog::default();
        let purge_seq = log.position();
        let tags = ["Product-1", "sale"].map(Tag::new);
        let remains = |tags: &[Tag]| log.remains(&of("d", "/a"), tags, purge_seq);
        log.append("d", &Purge::Tag(Tag::new("other")), PurgeMode::Hard);
        assert_eq!(remains(&tags), PurgeVerdict::All);
        log.append("other", &Purge::Tag(tags[0]), PurgeMode::Hard);
        assert_eq!(remains(&tags), PurgeVerdict::All);
        assert!(!log.untouched(&of("d", "/a"), purge_seq), "it may bear any tag");
        log.append("d", &Purge::Tag(Tag::new("PRODUCT-1")), PurgeMode::Soft);
        assert_eq!((remains(&tags), remains(&[])), (PurgeVerdict::Stale, PurgeVerdict::All));
        log.append("d", &Purge::Tag(Tag::new("Sale")), PurgeMode::Hard);
        assert_eq!(remains(&tags), PurgeVerdict::Nothing);
        assert_eq!(log.remains(&of("d", "/a"), &tags, log.position()), PurgeVerdict::All);
        assert!(log.untouched(&of("d", "/a"), log.position()));
    }

    #[test]
    fn the_harder_of_two_purges_counts() {
        let log = PurgeLog::default();
        let purge_seq = log.position();
        log.append("d", &Purge::Exact("/a".into()), PurgeMode::Soft);
        assert_eq!(log.remains(&of("d", "/a"), &[], purge_seq), PurgeVerdict::Stale);
        log.append("d", &Purge::Prefix("/".into()), PurgeMode::Hard);
        log.append("d", &Purge::Exact("/a".into()), PurgeMode::Soft);
        assert_eq!(log.remains(&of("d", "/a"), &[], purge_seq), PurgeVerdict::Nothing);
    }
}
