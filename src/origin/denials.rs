//! Mass denials: a bucket suddenly refuses objects that it served before.
//!
//! S3 answers 403 for one object that is gone or no longer readable, and for all of them if the bucket policy is
//! wrong. The first must reach viewers; the second must not cost a site its copies.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use parking_lot::Mutex;

use super::Origin;
use crate::{base::clock::Timestamp, cache::key::CacheKey};

/// Denials of this many known keys within this time, and of half of those requested, are a mass denial.
const KEYS: usize = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// The interval at which old entries are removed.
const PRUNE: Duration = Duration::from_secs(1);

/// The most keys remembered. Beyond that, new ones are not counted.
const MAX_KEYS: usize = 1024;

/// The verdict on the denial of a known key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It may be the first of many. The viewer receives it, and the copy stays for now.
    Undecided,
    /// It concerns this object alone and replaces the copy.
    OfObject,
    /// The bucket has denied most known objects since then.
    Mass(Timestamp),
}

/// Recent revalidations of cached objects at one bucket.
#[derive(Debug, Default)]
pub(super) struct Denials {
    recent: Mutex<Recent>,
    /// Keys may be long; only their hashes are kept.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Recent {
    keys: HashMap<u64, Revalidation>,
    pruned: Timestamp,
    /// When the mass denial began, if there is one.
    denying_since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Revalidation {
    at: Timestamp,
    /// The first of the denials since the last success.
    denied_since: Option<Timestamp>,
}

impl Origin {
    /// Whether the bucket denies most objects that it served before.
    pub(crate) fn denies_most(&self) -> bool {
        self.denials.recent.lock().denying_since.is_some()
    }

    /// Records that the bucket denied an object whose copy is usable.
    pub fn note_denied(&self, key: &CacheKey, now: Timestamp) -> Denial {
        let key = self.denials.hasher.hash_one(key);
        let mut recent = self.denials.recent.lock();
        let first = recent.note_denied(key, now);
        if recent.denying_since.is_none() && recent.denies_most(now) {
            recent.denying_since = Some(now);
            self.metrics.mass_denial(true);
            tracing::error!(
                distribution = self.metrics.distribution(),
                origin = self.options.address.authority,
                bucket = self.options.protocol.bucket(),
                stale_if_denied = self.options.stale_if_denied.as_secs(),
                advice = "check the bucket policy and the permissions of Forebay's credentials: \
                          they need s3:GetObject; stale copies are served meanwhile",
                "S3 denies most of the objects that it served before"
            );
        }
        match recent.denying_since {
            Some(since) => Denial::Mass(since),
            None if now.since(first) < WINDOW => Denial::Undecided,
            None => Denial::OfObject,
        }
    }

    /// Records that the bucket served or confirmed a cached object.
    pub fn note_allowed(&self, key: &CacheKey, now: Timestamp) {
        let key = self.denials.hasher.hash_one(key);
        let mut recent = self.denials.recent.lock();
        recent.note(key, Revalidation { at: now, denied_since: None }, now);
        if recent.denying_since.is_some() && !recent.denies_half(now) {
            recent.denying_since = None;
            self.metrics.mass_denial(false);
            tracing::info!(
                distribution = self.metrics.distribution(),
                origin = self.options.address.authority,
                bucket = self.options.protocol.bucket(),
                "S3 serves its objects again"
            );
        }
    }
}

impl Recent {
    /// Records a denial and returns the time of the key's first one.
    fn note_denied(&mut self, key: u64, now: Timestamp) -> Timestamp {
        let known = self.keys.get(&key).and_then(|known| known.denied_since);
        let first = known.unwrap_or(now);
        self.note(key, Revalidation { at: now, denied_since: Some(first) }, now);
        first
    }

    fn note(&mut self, key: u64, revalidation: Revalidation, now: Timestamp) {
        if now.since(self.pruned) >= PRUNE {
            self.prune(now);
        }
        if self.keys.len() < MAX_KEYS || self.keys.contains_key(&key) {
            self.keys.insert(key, revalidation);
        }
    }

    /// Removes keys that were not requested recently. Denials are kept longer, so that a key's next denial counts
    /// as its second.
    fn prune(&mut self, now: Timestamp) {
        self.pruned = now;
        self.keys.retain(|_, key| {
            let kept = if key.denied_since.is_some() { WINDOW * 6 } else { WINDOW };
            now.since(key.at) < kept
        });
    }

    fn denies_most(&self, now: Timestamp) -> bool {
        self.recent_denials(now) >= KEYS && self.denies_half(now)
    }

    fn denies_half(&self, now: Timestamp) -> bool {
        let requested = self.keys.values().filter(|key| now.since(key.at) < WINDOW).count();
        self.recent_denials(now) * 2 >= requested
    }

    fn recent_denials(&self, now: Timestamp) -> usize {
        let is_denied =
            |key: &&Revalidation| key.denied_since.is_some() && now.since(key.at) < WINDOW;
        self.keys.values().filter(is_denied).count()
    }
}
