//! Storing responses that vary.

use std::sync::Arc;

use super::{
    Store,
    floor::PurgeVerdict,
    index::{Note, Stored},
    response::StoredResponse,
    variants::{VariantSlot, Variants},
};
use crate::cache::key::{CacheKey, Variation};

impl Store {
    /// The request fields by which responses of a resource are known to vary, unless it was purged since.
    ///
    /// Some origins, S3 among them, send `Vary` only if the request has the field.
    #[must_use]
    pub fn known_variation(&self, resource: &CacheKey) -> Option<Variation> {
        Some(self.variants(resource)?.variation.clone())
    }

    /// Stores a response under its key.
    pub(super) fn put(&self, place: &VariantSlot, response: Arc<StoredResponse>) {
        let mark = response.mark;
        {
            let _lock = self.lock_key(self.memory.digest_of(&place.key));
            self.save(&place.key, &response);
            self.memory.insert(&place.key, response);
        }
        let Some(variation) = &place.variation else { return };
        let lock = self.lock_key(self.memory.digest_of(&place.resource));
        match self.variants(&place.resource).filter(|known| known.variation == *variation) {
            Some(variants) => {
                let is_known = variants.knows(&place.key);
                // Only a bounded number of variants is kept for each resource, the newest ones.
                let oldest = variants.add(&place.key);
                if !is_known {
                    self.save_variants(&place.resource, &variants);
                }
                drop(lock);
                if let Some(oldest) = oldest {
                    self.discard(&oldest);
                }
            }
            None => {
                let variants = Arc::new(Variants::new(variation.clone(), place.key.clone(), mark));
                self.save_variants(&place.resource, &variants);
                self.memory.insert_note(&place.resource, Note::Varies(variants));
            }
        }
    }

    /// The known variants of a resource, unless it was purged since.
    fn variants(&self, resource: &CacheKey) -> Option<Arc<Variants>> {
        match self.memory.current(resource)? {
            Stored::Note(Note::Varies(variants)) => {
                let verdict = self.floors.remains(&resource.resource(), &[], variants.mark);
                (verdict == PurgeVerdict::All).then_some(variants)
            }
            _ => None,
        }
    }
}
