//! The outcome of a lookup.

use std::sync::Arc;

use super::{
    in_flight::{Obligation, Waiter},
    purge::PurgeMode,
    response::StoredResponse,
    variants::Variants,
};
use crate::cache::policy::NotStored;

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
