//! The identity of a store.

use serde::{Deserialize, Serialize};

use crate::cache::digest::random_secret;

/// The identity that a store is opened with. A store on disk persists it, so that responses of an
/// earlier process are found and never confused with new ones.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreIdentity {
    /// Higher each time the store is opened: contents and log positions of two epochs never have the same
    /// number. A store that has used the last epoch must be emptied.
    pub epoch: u16,
    /// The key of the function that hashes cache keys into digests. It is secret, so viewers cannot search
    /// for collisions.
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
    pub(crate) fn ephemeral() -> Self {
        Self { epoch: 1, secret: random_secret() }
    }
}
