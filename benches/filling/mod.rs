//! Fills a store with responses, without an origin.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use forebay::{
    base::clock::Timestamp,
    cache::{
        key::{CacheKey, CanonicalPath, PathForm, Projection},
        policy::{Freshness, Stale},
        store::{FetchLock, Store, StoredResponse, VariantSlot},
    },
};
use http::{HeaderMap, StatusCode};

/// The key of an object.
pub(crate) fn key(number: u32) -> CacheKey {
    let text = format!("/photos/{number}.jpg");
    let path = CanonicalPath::resolve(&text, PathForm::Key).expect("path");
    CacheKey::new("media", &path, &Projection::default())
}

/// Stores an object of `length` bytes.
pub(crate) fn put(
    store: &Arc<Store>,
    number: u32,
    fields: &HeaderMap,
    length: usize,
    now: Timestamp,
) {
    let FetchLock::Lead(obligation) = store.claim(&key(number), None, false, now) else {
        unreachable!("the key is new")
    };
    let freshness = Freshness {
        received_at: now,
        initial_age: 0,
        fresh_until: now + Duration::from_secs(86_400),
        stale: Stale::default(),
    };
    let content = Arc::new(store.complete_content(Bytes::from(vec![0; length])));
    let mark = obligation.mark();
    let response = StoredResponse::new(StatusCode::OK, fields, freshness, content, mark);
    let key = obligation.key().clone();
    let place = VariantSlot { resource: key.clone(), variation: None, key };
    obligation.fulfil(&place, Arc::new(response), now);
}
