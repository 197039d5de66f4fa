//! The purges and invalidations of the process that this one replaces.

use crate::cache::store::{Invalidations, PurgeEntry, Store, StoreIdentity};

/// The purges and invalidations of the process that this one replaces.
#[derive(Debug)]
pub(super) struct LastState {
    pub(super) identity: StoreIdentity,
    pub(super) purges: Vec<PurgeEntry>,
    pub(super) invalidations: Vec<(String, Invalidations)>,
}

impl LastState {
    /// Adds them to a store. `took_contents` is whether the store took over the contents of the last process: then
    /// it has no other source for the purges.
    pub(super) fn apply_to(self, store: &Store, took_contents: bool) {
        if took_contents {
            for entry in &self.purges {
                store.floors().apply(entry);
            }
        }
        // Otherwise, nothing in the store is from that process.
        // Digests of paths have a meaning only for a store with the same secret.
        if store.identity().secret == self.identity.secret {
            store.floors().merge_invalidations(self.invalidations);
        }
    }
}
