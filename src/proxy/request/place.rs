//! Where responses are stored.

use http::HeaderMap;

use super::admission::Ask;
use crate::{
    behavior::Behavior,
    cache::{
        key::{CacheKey, Projection, Variation},
        store::{Place, StoredResponse},
    },
};

/// The key of the variant of `response` that a request selects.
pub(crate) fn key_of(ask: &Ask<'_>, response: &StoredResponse) -> CacheKey {
    place(ask.behavior, ask.key(), &ask.forwarded(), &response.fields.to_map()).key
}

/// Where a response with these fields is stored; `forwarded` is what the origin request carried.
pub(crate) fn place(
    behavior: &Behavior,
    resource: CacheKey,
    forwarded: &Projection<'_>,
    response: &HeaderMap,
) -> Place {
    let policy = &behavior.cache_policy;
    let variation = if policy.terms.honor_vary {
        Variation::read(response, &behavior.forward, &policy.key)
    } else {
        None
    };
    let key = match &variation {
        Some(variation) => variation.key(&resource, forwarded),
        None => resource.clone(),
    };
    Place { resource, variation, key }
}
