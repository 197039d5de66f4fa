//! The heads of plain hits, kept ready.
//!
//! The fields of a hit that sends all of a stored response are the same for every viewer while age
//! and lifetime, in seconds, are the same. Each thread keeps those of the hits it serves often, in
//! memory of its own: threads that serve the same object do not slow each other down.

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

/// Hits that each thread keeps fields of.
const PLACES: usize = 256;

/// All that the fields of a plain hit depend on.
#[derive(Clone, Copy)]
pub(super) struct PlainHit<'a> {
    response: &'a Arc<StoredResponse>,
    distribution: &'a Arc<Distribution>,
    version: Version,
    age: u64,
    ttl: i64,
    /// Whether a page of another site asks, where a policy answers that.
    site: bool,
}

impl<'a> PlainHit<'a> {
    /// `None` where the answer is more particular.
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

/// The hit seen last of those that share a place.
struct Entry<T> {
    /// Their serials: threads that refer to the same would count references together.
    response: u64,
    distribution: u64,
    version: Version,
    age: u64,
    ttl: i64,
    site: bool,
    /// There from the second hit on: most objects are not asked for twice in a second.
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

/// What a thread keeps ready of its hits.
struct Places<T>(Vec<Option<Entry<T>>>);

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self((0..PLACES).map(|_| None).collect())
    }
}

impl<T> Places<T> {
    /// What is ready for `hit`, or is to be; `None` at the first of its kind.
    fn find(&mut self, hit: PlainHit<'_>) -> Option<&mut Option<T>> {
        // Serials of what is served may be even, or far apart.
        let spread = hit.response.serial.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let place = &mut self.0[(spread % PLACES as u64) as usize];
        if !place.as_ref().is_some_and(|place| place.is_of(hit)) {
            *place = Some(Entry::of(hit));
            return None;
        }
        place.as_mut().map(|place| &mut place.ready)
    }
}

/// A head as HTTP/1.1 writes it, and what the log tells of it.
struct Text {
    bytes: Box<[u8]>,
    shown: Option<Shown>,
}

thread_local! {
    static FIELDS: RefCell<Places<HeaderMap>> = RefCell::default();
    static TEXTS: RefCell<Places<Text>> = RefCell::default();
}

/// Writes the fields of `hit` into a map that is empty; `make` does it where they are not ready.
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

/// Appends the head of `hit` to an empty `text`; `make` does it where it is not ready.
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

/// The same fields in memory that nobody else counts references to.
fn own_copy(fields: &HeaderMap) -> HeaderMap {
    let mut own = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        own.append(name.clone(), own_value(value));
    }
    own
}
