//! Lookups: their outcomes, and what purges leave of them.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Store,
    floor::PurgeVerdict,
    in_flight::{Obligation, Waiter},
    index::{HitForMiss, Note},
    purge::PurgeMode,
    purge_mark::PurgeMark,
    response::StoredResponse,
    variants::Variants,
};
use crate::{
    base::clock::Timestamp,
    cache::{key::CacheKey, policy::NotStored},
};

/// The outcome of a lookup.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A response, fresh or stale.
    Response(Arc<StoredResponse>),
    /// Responses vary: look up the key of the variant that the request selects.
    Varies(Arc<Variants>),
    /// The last response could not be stored, so requests do not wait for each other.
    HitForMiss(NotStored),
    /// Nothing.
    Nothing,
}

/// The outcome of a lookup that changes nothing.
#[derive(Clone, Debug)]
pub struct Peeked {
    /// The outcome.
    pub lookup: Lookup,
    /// The effect of a purge on it.
    pub purged: Option<PurgeMode>,
    /// Whether it is not in memory.
    pub is_only_on_disk: bool,
}

/// The outcome of a claim: which request fetches.
#[derive(Debug)]
pub enum FetchLock {
    /// The claimant fetches.
    Lead(Obligation),
    /// Another request fetches.
    Wait(Waiter),
    /// The lookup has another outcome now.
    Lookup(Lookup),
}

impl Store {
    /// The part of a response that may be used, after purges since its last check.
    pub(super) fn select(&self, key: &CacheKey, response: Arc<StoredResponse>) -> Lookup {
        let version = self.floors.version();
        if response.checked() == version {
            return Lookup::Response(response);
        }
        let mark = self.floors.mark();
        match self.floors.remains(&key.resource(), &response.tags, response.mark) {
            PurgeVerdict::All => {
                response.checked.store(version, Ordering::Relaxed);
                Lookup::Response(response)
            }
            PurgeVerdict::Stale => {
                let stale = Arc::new(response.expired(mark));
                let kept = self.memory.replace(key, &response, Arc::clone(&stale));
                if kept.serial == stale.serial {
                    Lookup::Response(kept)
                } else {
                    // A fetch replaced it meanwhile. The purge may affect the new one, too.
                    self.select(key, kept)
                }
            }
            PurgeVerdict::Nothing => {
                self.discard(key);
                Lookup::Nothing
            }
        }
    }

    /// The outcome of a lookup that finds a note. An expired or purged note is `Nothing`.
    pub(super) fn noted(&self, note: &Note, key: &CacheKey, now: Timestamp) -> Lookup {
        match note {
            Note::Varies(variants) => Lookup::Varies(Arc::clone(variants)),
            Note::HitForMiss(pass) if self.is_in_force(pass, key, now) => {
                Lookup::HitForMiss(pass.why)
            }
            Note::HitForMiss(_) => Lookup::Nothing,
        }
    }

    fn is_in_force(&self, pass: &HitForMiss, key: &CacheKey, now: Timestamp) -> bool {
        now < pass.until && self.survives(key, pass.mark)
    }

    pub(super) fn survives(&self, key: &CacheKey, mark: PurgeMark) -> bool {
        mark == self.floors.mark() || self.floors.untouched(&key.resource(), mark)
    }
}
