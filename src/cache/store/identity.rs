//! The identity of a store.

use std::hash::{BuildHasher, RandomState};

/// What a store is opened with. A store on disk keeps it there, so that what it stored in an earlier process is found
/// and never confused with something new.
#[derive(Clone, Copy)]
pub struct StoreIdentity {
    /// Higher each time the store is opened: contents and log positions of two epochs never have the same number. A store
    /// that has used the last epoch must be emptied.
    pub epoch: u16,
    /// The key of the function that turns cache keys into digests. It is secret, so that viewers cannot look for
    /// collisions.
    pub secret: [u64; 2],
}

impl std::fmt::Debug for StoreIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreIdentity").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl StoreIdentity {
    /// The identity of a store that keeps nothing beyond the process.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self { epoch: 0, secret: [(); 2].map(|()| RandomState::new().hash_one(())) }
    }
}
