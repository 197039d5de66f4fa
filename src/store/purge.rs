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
use sha2::{Digest, Sha256};

/// Entries kept apart. When more come in, the older half is folded into one floor for everything: as hard
/// as they were, and no harder.
const MAX_ENTRIES: usize = 100_000;

/// A position in the purge log; later entries have higher ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition(pub(super) u64);

/// Which stored responses of a distribution a purge is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Those of one path, whatever else is in their keys.
    Exact(String),
    /// Those whose path begins so.
    Prefix(String),
    /// Those that bear a tag.
    Tag(Tag),
}

/// What a purge does to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
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
pub(super) enum Remains {
    /// Nothing.
    Nothing,
    /// A stale response.
    Stale,
    /// All of it.
    All,
}

/// The ordered log, folded into the highest positions per path, prefix and tag.
#[derive(Debug, Default)]
pub(super) struct PurgeLog {
    position: AtomicU64,
    floors: RwLock<Floors>,
}

/// The newest positions at which something was purged; zero where it never was.
#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    hard: u64,
    soft: u64,
}

impl Floor {
    fn raise(&mut self, manner: Manner, position: u64) {
        match manner {
            Manner::Hard => self.hard = position,
            Manner::Soft => self.soft = position,
        }
    }

    fn remains(self, born: LogPosition) -> Remains {
        match () {
            () if self.hard > born.0 => Remains::Nothing,
            () if self.soft > born.0 => Remains::Stale,
            () => Remains::All,
        }
    }

    const fn newest(self) -> u64 {
        if self.hard > self.soft { self.hard } else { self.soft }
    }
}

#[derive(Debug, Default)]
struct Floors {
    exact: HashMap<Box<[u8]>, Floor>,
    /// By length, so that a lookup tries each length once.
    prefix: BTreeMap<usize, HashMap<Box<[u8]>, Floor>>,
    /// By distribution.
    tags: HashMap<Box<[u8]>, Tags>,
    /// What older entries, which are forgotten, left of everything.
    horizon: Floor,
    /// Up to where they are forgotten.
    forgotten: u64,
}

/// The tags of one distribution.
#[derive(Debug, Default)]
struct Tags {
    floors: HashMap<Tag, Floor>,
    /// The newest position of all.
    newest: u64,
}

impl PurgeLog {
    /// The position of the newest entry. One atomic load: this is on the hit path.
    pub(super) fn position(&self) -> LogPosition {
        LogPosition(self.position.load(Ordering::Acquire))
    }

    /// Appends an entry; in force when this returns.
    pub(super) fn append(&self, distribution: &str, purge: &Purge, manner: Manner) -> LogPosition {
        let resource = |path: &str| -> Box<[u8]> {
            [distribution.as_bytes(), &[0], path.as_bytes()].concat().into()
        };
        let mut floors = self.floors.write();
        let position = self.position.load(Ordering::Acquire) + 1;
        match purge {
            Purge::Exact(path) => floors.exact.entry(resource(path)).or_default(),
            Purge::Prefix(path) => {
                let resource = resource(path);
                floors.prefix.entry(resource.len()).or_default().entry(resource).or_default()
            }
            Purge::Tag(tag) => {
                let tags = floors.tags.entry(distribution.as_bytes().into()).or_default();
                tags.newest = position;
                tags.floors.entry(*tag).or_default()
            }
        }
        .raise(manner, position);
        if floors.count() > MAX_ENTRIES {
            floors.fold(position);
        }
        self.position.store(position, Ordering::Release);
        LogPosition(position)
    }

    /// What remains of a response for `resource` (distribution, NUL, path) that bears these tags and
    /// whose request started at `born`.
    pub(super) fn remains(&self, resource: &[u8], tags: &[Tag], born: LogPosition) -> Remains {
        let floors = self.floors.read();
        let horizon = floors.horizon.remains(born);
        let exact = floors.exact.get(resource);
        let lengths = floors.prefix.range(..=resource.len());
        let prefixes = lengths.filter_map(|(&length, map)| map.get(&resource[..length]));
        let known = floors.tags_of(resource).filter(|_| !tags.is_empty());
        let tagged = known.into_iter().flat_map(|of| tags.iter().filter_map(|t| of.floors.get(t)));
        let matching = exact.into_iter().chain(prefixes).chain(tagged);
        matching.map(|floor| floor.remains(born)).fold(horizon, Remains::min)
    }

    /// Whether a request for `resource` that started at `born` brings what no purge has touched since.
    /// The tags of what it brings are not known yet, so any of them may be purged.
    pub(super) fn untouched(&self, resource: &[u8], born: LogPosition) -> bool {
        self.remains(resource, &[], born) == Remains::All
            && self.floors.read().tags_of(resource).is_none_or(|tags| tags.newest <= born.0)
    }
}

impl Floors {
    fn tags_of(&self, resource: &[u8]) -> Option<&Tags> {
        if self.tags.is_empty() {
            return None;
        }
        self.tags.get(resource.split(|byte| *byte == 0).next()?)
    }

    fn count(&self) -> usize {
        let tags = self.tags.values().map(|tags| tags.floors.len()).sum::<usize>();
        self.exact.len() + self.prefix.values().map(HashMap::len).sum::<usize>() + tags
    }

    /// Forgets the older half of the entries and raises the horizon over them: what they did to some
    /// is done to everything of its age. A flood of soft purges leaves everything stale, not gone.
    fn fold(&mut self, newest: u64) {
        self.forgotten += (newest - self.forgotten) / 2;
        let (horizon, forgotten) = (&mut self.horizon, self.forgotten);
        let mut keep = |floor: &Floor| {
            let stays = floor.newest() > forgotten;
            if !stays {
                horizon.hard = horizon.hard.max(floor.hard);
                horizon.soft = horizon.soft.max(floor.soft);
            }
            stays
        };
        self.exact.retain(|_, floor| keep(floor));
        for map in self.prefix.values_mut() {
            map.retain(|_, floor| keep(floor));
        }
        self.prefix.retain(|_, map| !map.is_empty());
        for tags in self.tags.values_mut() {
            tags.floors.retain(|_, floor| keep(floor));
        }
        self.tags.retain(|_, tags| !tags.floors.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(log: &PurgeLog, path: &str, born: LogPosition) -> bool {
        log.remains(format!("d\0{path}").as_bytes(), &[], born) == Remains::All
    }

    fn purge(log: &PurgeLog, purge: &Purge) {
        log.append("d", purge, Manner::Hard);
    }

    #[test]
    fn floors_take_what_is_older_and_matches() {
        let log = PurgeLog::default();
        let before = log.position();
        purge(&log, &Purge::Exact("/a/b.png".into()));
        let between = log.position();
        purge(&log, &Purge::Prefix("/dir".into()));
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
        assert_eq!(log.remains(b"other\0/a/b.png", &[], before), Remains::All);
        purge(&log, &Purge::Prefix("/".into()));
        assert!(!survives(&log, "/anything", after));
    }

    #[test]
    fn a_full_log_forgets_entries_but_never_revives_what_they_purged() {
        let log = PurgeLog::default();
        let born = log.position();
        for n in 0..=MAX_ENTRIES {
            purge(&log, &Purge::Exact(format!("/{n}")));
        }
        assert!(log.floors.read().count() <= MAX_ENTRIES / 2 + 1);
        for n in [0, 1, MAX_ENTRIES / 2, MAX_ENTRIES] {
            assert!(!survives(&log, &format!("/{n}"), born), "{n}");
        }
        assert!(survives(&log, "/0", log.position()));
    }

    #[test]
    fn a_flood_of_soft_purges_leaves_everything_stale_and_not_gone() {
        let log = PurgeLog::default();
        let first = log.position();
        log.append("d", &Purge::Exact("/gone".into()), Manner::Hard);
        let born = log.position();
        for n in 0..=MAX_ENTRIES {
            log.append("d", &Purge::Exact(format!("/{n}")), Manner::Soft);
        }
        assert_eq!(log.remains(b"d\0/other", &[], born), Remains::Stale);
        assert_eq!(log.remains(b"d\0/other", &[], first), Remains::Nothing, "it may be the other");
        assert_eq!(log.remains(b"d\0/other", &[], log.position()), Remains::All);
    }

    #[test]
    fn tags_are_purged_whatever_the_path() {
        let log = PurgeLog::default();
        let born = log.position();
        let tags = ["Product-1", "sale"].map(Tag::new);
        let remains = |tags: &[Tag]| log.remains(b"d\0/a", tags, born);
        log.append("d", &Purge::Tag(Tag::new("other")), Manner::Hard);
        assert_eq!(remains(&tags), Remains::All);
        log.append("other", &Purge::Tag(tags[0]), Manner::Hard);
        assert_eq!(remains(&tags), Remains::All);
        assert!(!log.untouched(b"d\0/a", born), "it may bear any tag");
        log.append("d", &Purge::Tag(Tag::new("PRODUCT-1")), Manner::Soft);
        assert_eq!((remains(&tags), remains(&[])), (Remains::Stale, Remains::All));
        log.append("d", &Purge::Tag(Tag::new("Sale")), Manner::Hard);
        assert_eq!(remains(&tags), Remains::Nothing);
        assert_eq!(log.remains(b"d\0/a", &tags, log.position()), Remains::All);
        assert!(log.untouched(b"d\0/a", log.position()));
    }

    #[test]
    fn the_harder_of_two_purges_counts() {
        let log = PurgeLog::default();
        let born = log.position();
        log.append("d", &Purge::Exact("/a".into()), Manner::Soft);
        assert_eq!(log.remains(b"d\0/a", &[], born), Remains::Stale);
        log.append("d", &Purge::Prefix("/".into()), Manner::Hard);
        log.append("d", &Purge::Exact("/a".into()), Manner::Soft);
        assert_eq!(log.remains(b"d\0/a", &[], born), Remains::Nothing);
    }
}
