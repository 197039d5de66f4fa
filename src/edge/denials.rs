//! Mass denials: a bucket suddenly refuses objects that it served before.
//!
//! S3 answers 403 for one object that is gone or no longer readable, and for all of them when somebody breaks
//! the bucket's policy. The first must reach viewers; the second must not cost a site its copies.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    clock::Timestamp,
    key::CacheKey,
    origin::{Group, Origin},
};

/// Denials of this many known keys within this time, and of half of those asked for, are a mass denial.
const KEYS: usize = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Keys remembered for each bucket. Once there are more, revalidations that succeed are not counted.
const MOST: usize = 4096;

/// What a denial of a known key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// It may be the first of many: the viewer gets it, the copy stays for now.
    Undecided,
    /// It is about this object: it replaces the copy.
    OfObject,
    /// The bucket has denied most known objects since then.
    Mass(Timestamp),
}

/// What buckets answered lately about objects of which there is a copy.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<HashMap<usize, Bucket>>);

#[derive(Debug, Default)]
struct Bucket {
    keys: HashMap<CacheKey, Revalidation>,
    pruned: Timestamp,
    /// When the mass denial began, if there is one.
    denying_since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Revalidation {
    /// The last one.
    at: Timestamp,
    /// The first of the denials since the last success.
    denied_since: Option<Timestamp>,
}

impl Denials {
    /// Notes that a bucket denied an object of which there is a copy.
    pub(super) fn denied(&self, group: &Group, key: &CacheKey, now: Timestamp) -> Denial {
        let Some(origin) = bucket_of(group) else { return Denial::OfObject };
        let mut buckets = self.0.lock();
        let bucket = buckets.entry(id(origin)).or_default();
        let first = bucket.note_denial(key, now);
        if bucket.denying_since.is_none() && bucket.denies_most(now) {
            bucket.denying_since = Some(now);
            origin.report_mass_denial(true);
            tracing::error!(
                origin = origin.options().address.authority,
                stale_if_denied = origin.options().stale_if_denied.as_secs(),
                advice = "check the bucket's policy and the rights of Forebay's credentials: \
                          they need s3:GetObject; stale copies are served meanwhile",
                "S3 denies most of the objects that it served before"
            );
        }
        match bucket.denying_since {
            Some(since) => Denial::Mass(since),
            None if now.since(first) < WINDOW => Denial::Undecided,
            None => Denial::OfObject,
        }
    }

    /// Notes that a bucket served or confirmed an object of which there is a copy.
    pub(super) fn allowed(&self, group: &Group, key: &CacheKey, now: Timestamp) {
        let Some(origin) = bucket_of(group) else { return };
        let mut buckets = self.0.lock();
        let bucket = buckets.entry(id(origin)).or_default();
        bucket.prune(now);
        if bucket.keys.len() < MOST || bucket.keys.contains_key(key) {
            bucket.keys.insert(key.clone(), Revalidation { at: now, denied_since: None });
        }
        if bucket.denying_since.is_some() && !bucket.denies_half(now) {
            bucket.denying_since = None;
            origin.report_mass_denial(false);
            tracing::info!(
                origin = origin.options().address.authority,
                "S3 serves its objects again"
            );
        }
    }
}

impl Bucket {
    /// Notes a denial; returns when the denials of this key began.
    fn note_denial(&mut self, key: &CacheKey, now: Timestamp) -> Timestamp {
        self.prune(now);
        let known = self.keys.get(key).and_then(|known| known.denied_since);
        let first = known.unwrap_or(now);
        self.keys.insert(key.clone(), Revalidation { at: now, denied_since: Some(first) });
        first
    }

    fn denies_most(&self, now: Timestamp) -> bool {
        self.recent_denials(now) >= KEYS && self.denies_half(now)
    }

    fn denies_half(&self, now: Timestamp) -> bool {
        let asked = self.keys.values().filter(|key| now.since(key.at) < WINDOW).count();
        self.recent_denials(now) * 2 >= asked
    }

    fn recent_denials(&self, now: Timestamp) -> usize {
        let is_denied =
            |key: &&Revalidation| key.denied_since.is_some() && now.since(key.at) < WINDOW;
        self.keys.values().filter(is_denied).count()
    }

    /// Forgets keys that were not asked for lately. A denial is remembered a little longer, so that the next
    /// one of its key is known to be the second.
    fn prune(&mut self, now: Timestamp) {
        if now.since(self.pruned) < WINDOW && self.keys.len() < MOST {
            return;
        }
        self.pruned = now;
        self.keys.retain(|_, key| {
            let kept = if key.denied_since.is_some() { WINDOW * 6 } else { WINDOW };
            now.since(key.at) < kept
        });
        if self.keys.len() >= MOST {
            self.keys.retain(|_, key| now.since(key.at) < WINDOW / 2);
        }
    }
}

fn bucket_of(group: &Group) -> Option<&Arc<Origin>> {
    group.members().next().filter(|origin| origin.is_s3())
}

/// Origins that a reload does not change are kept, so their address identifies them.
fn id(origin: &Arc<Origin>) -> usize {
    Arc::as_ptr(origin) as usize
}
