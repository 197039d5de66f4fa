//! The cache slot of a response: its resource, variation and key.

use http::HeaderMap;

use super::admission::AdmittedRequest;
use crate::{
    behavior::Behavior,
    cache::{
        key::{CacheKey, Projection, Variation},
        store::{StoredResponse, VariantSlot},
    },
};

/// The key of the variant of `response` that a request selects.
pub(crate) fn key_of(admitted: &AdmittedRequest<'_>, response: &StoredResponse) -> CacheKey {
    variant_slot(
        admitted.behavior,
        admitted.key(),
        &admitted.forwarded(),
        &response.fields.to_map(),
    )
    .key
}

/// The slot for a response with these headers. `forwarded` is the part of the request sent to the origin.
pub(crate) fn variant_slot(
    behavior: &Behavior,
    resource: CacheKey,
    forwarded: &Projection<'_>,
    response: &HeaderMap,
) -> VariantSlot {
    let policy = &behavior.cache_policy;
    let variation = if policy.caching.honor_vary {
        Variation::read(response, &behavior.forward, &policy.key)
    } else {
        None
    };
    let key = match &variation {
        Some(variation) => variation.key(&resource, forwarded),
        None => resource.clone(),
    };
    VariantSlot { resource, variation, key }
}
