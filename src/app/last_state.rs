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
    /// Whether the process had a store with the same secret: then digests of paths have the same meaning.
    pub(super) fn has_secret_of(&self, store: &Store) -> bool {
        store.identity().secret == self.identity.secret
    }

    /// Adds them to a store. `took_contents` is whether the store took over the contents of the last process: then
    /// it has no other source for the purges.
    pub(super) fn apply_to(self, store: &Store, took_contents: bool) {
        if took_contents {
            for entry in &self.purges {
                store.floors().apply(entry);
            }
        }
        // Otherwise, nothing in the store is from that process.
        if self.has_secret_of(store) {
            store.floors().merge_invalidations(self.invalidations, true);
        }
    }
}
