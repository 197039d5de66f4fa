//! A per-thread cache of response heads for plain hits.
//!
//! The headers of a hit that sends a whole stored response are the same for every viewer while age and remaining
//! lifetime, in seconds, are the same. Each thread caches those of its frequent hits in its own memory, so that
//! threads that serve the same object do not slow each other down.

use std::{cell::RefCell, sync::Arc};

use http::{HeaderMap, StatusCode, Version};

use super::{
    logged::{Shown, own_value},
    request::routing::Distribution,
    response::proxy_response::{Part, StoredHead},
};
use crate::{
    base::metrics::ResultType,
    cache::store::StoredResponse,
    http::cache_status::{CacheStatus, Report},
};

/// The number of slots per thread.
const PLACES: usize = 256;

/// The values that determine the headers of a plain hit.
#[derive(Clone, Copy)]
pub(super) struct PlainHit<'a> {
    response: &'a Arc<StoredResponse>,
    distribution: &'a Arc<Distribution>,
    version: Version,
    age: u64,
    ttl: i64,
    /// Whether the request is cross-origin, if a response headers policy applies.
    site: bool,
}

impl<'a> PlainHit<'a> {
    /// Returns the plain hit, or `None` if the response depends on more than these values.
    pub(super) fn of(
        head: &'a StoredHead,
        result: ResultType,
        report: Report,
        distribution: Option<&'a Arc<Distribution>>,
        version: Version,
        site: bool,
    ) -> Option<Self> {
        let ttl = report.ttl?;
        let is_plain = result == ResultType::Hit
            && head.part == Part::Whole
            && head.own_fields.is_none()
            && head.response.status == StatusCode::OK
            && report == (Report { ttl: Some(ttl), ..Report::new(CacheStatus::Hit) });
        let hit = || {
            let (response, distribution) = (&head.response, distribution?);
            Some(Self { response, distribution, version, age: head.age?, ttl, site })
        };
        is_plain.then(hit).flatten()
    }
}

/// The latest hit in a slot.
struct Entry<T> {
    /// Serials instead of references, because threads would share the reference counts.
    response: u64,
    distribution: u64,
    version: Version,
    age: u64,
    ttl: i64,
    site: bool,
    /// Set from the second hit on: most objects are not requested twice within a second.
    ready: Option<T>,
}

impl<T> Entry<T> {
    fn of(hit: PlainHit<'_>) -> Self {
        Self {
            response: hit.response.serial,
            distribution: hit.distribution.serial,
            version: hit.version,
            age: hit.age,
            ttl: hit.ttl,
            site: hit.site,
            ready: None,
        }
    }

    fn is_of(&self, hit: PlainHit<'_>) -> bool {
        (self.response, self.distribution) == (hit.response.serial, hit.distribution.serial)
            && (self.version, self.age, self.ttl, self.site)
                == (hit.version, hit.age, hit.ttl, hit.site)
    }
}

/// The prepared heads of a thread.
struct Places<T>(Vec<Option<Entry<T>>>);

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self((0..PLACES).map(|_| None).collect())
    }
}

impl<T> Places<T> {
    /// The slot for `hit`, which may still be empty; `None` for the first such hit.
    fn find(&mut self, hit: PlainHit<'_>) -> Option<&mut Option<T>> {
        // Serials may follow a pattern, such as all even, so spread them.
        let spread = hit.response.serial.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let place = &mut self.0[(spread % PLACES as u64) as usize];
        if !place.as_ref().is_some_and(|place| place.is_of(hit)) {
            *place = Some(Entry::of(hit));
            return None;
        }
        place.as_mut().map(|place| &mut place.ready)
    }
}

/// An HTTP/1.1 head, and its logged parts.
struct Text {
    bytes: Box<[u8]>,
    shown: Option<Shown>,
}

thread_local! {
    static FIELDS: RefCell<Places<HeaderMap>> = RefCell::default();
    static TEXTS: RefCell<Places<Text>> = RefCell::default();
}

/// Writes the headers of `hit` into an empty map; `make` writes them if they are not prepared.
pub(super) fn write(hit: PlainHit<'_>, fields: &mut HeaderMap, make: impl FnOnce(&mut HeaderMap)) {
    FIELDS.with_borrow_mut(|places| match places.find(hit) {
        Some(Some(ready)) => *fields = ready.clone(),
        Some(empty) => {
            make(fields);
            *empty = Some(own_copy(fields));
        }
        None => make(fields),
    });
}

/// Appends the head of `hit` to an empty `text`; `make` writes it if it is not prepared.
pub(super) fn append(
    hit: PlainHit<'_>,
    text: &mut Vec<u8>,
    make: impl FnOnce(&mut Vec<u8>) -> Option<Shown>,
) -> Option<Shown> {
    TEXTS.with_borrow_mut(|places| match places.find(hit) {
        Some(Some(ready)) => {
            text.extend_from_slice(&ready.bytes);
            ready.shown.clone()
        }
        Some(empty) => {
            let shown = make(text);
            let kept = shown.as_ref().map(Shown::own_copy);
            *empty = Some(Text { bytes: text.as_slice().into(), shown: kept });
            shown
        }
        None => make(text),
    })
}

/// A copy of the headers that shares no reference counts.
fn own_copy(fields: &HeaderMap) -> HeaderMap {
    let mut own = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        own.append(name.clone(), own_value(value));
    }
    own
}
