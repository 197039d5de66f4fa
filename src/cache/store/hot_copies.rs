//! Copies of responses that a serving thread uses often.
//!
//! A lookup in the index changes the lock of a shard, and a hit changes the response's reference count. Threads that
//! serve the same object would wait for each other's cache lines. So each serving thread has copies of its own. A copy
//! is valid until the index has another response: a hit reads a flag of the original, which is set then.

use std::{cell::RefCell, sync::Arc};

use super::response::StoredResponse;
use crate::cache::digest::Digest;

/// The most copies of a thread.
const PLACES: usize = 2048;

/// Responses with more bytes of fields are not copied.
const MAX_FIELDS: usize = 4 << 10;

thread_local! {
    /// `None` on threads that do not serve.
    static COPIES: RefCell<Option<Box<[Place]>>> = const { RefCell::new(None) };
}

/// The response that a thread used last at this place, of those that share it.
#[derive(Default)]
struct Place {
    /// The memory tier, and the key, that were used last.
    key: Option<(u64, Digest)>,
    /// Set when the same key is used again.
    pair: Option<Pair>,
    is_used: bool,
}

struct Pair {
    original: Arc<StoredResponse>,
    copy: Arc<StoredResponse>,
}

fn place((_, digest): (u64, Digest)) -> usize {
    usize::try_from(digest.1 % PLACES as u64).unwrap_or(0)
}

/// Begins to copy the responses that this thread uses often. Such a thread must call [`drop_idle_copies`] now and then.
pub fn copy_hot_responses() {
    COPIES.set(Some((0..PLACES).map(|_| Place::default()).collect()));
}

/// Drops the copies that this thread has not used since the last call, and those that are no longer valid.
pub fn drop_idle_copies() {
    let dropped: Vec<Pair> = COPIES.with_borrow_mut(|copies| {
        let places = copies.iter_mut().flat_map(|places| places.iter_mut());
        let idle = places.filter_map(|place| {
            let is_valid = place.pair.as_ref().is_none_or(|pair| !pair.original.is_displaced());
            if std::mem::take(&mut place.is_used) && is_valid {
                return None;
            }
            std::mem::take(place).pair
        });
        idle.collect()
    });
    drop(dropped);
}

/// The thread's copy of the response that the index has under `key`, which names the memory tier, too.
pub(super) fn find(key: (u64, Digest)) -> Option<Arc<StoredResponse>> {
    COPIES.with_borrow_mut(|copies| {
        let place = &mut copies.as_mut()?[place(key)];
        let pair = place.pair.as_ref().filter(|_| place.key == Some(key))?;
        if pair.original.is_displaced() {
            return None;
        }
        place.is_used = true;
        Some(Arc::clone(&pair.copy))
    })
}

/// Copies a response of the index if this thread uses it for the second time.
pub(super) fn offer(key: (u64, Digest), original: &Arc<StoredResponse>) {
    let replaced = COPIES.with_borrow_mut(|copies| {
        let place = &mut copies.as_mut()?[place(key)];
        if place.key != Some(key) {
            if place.pair.is_some() && place.is_used {
                // One of two keys that share a place keeps its copy.
                return None;
            }
            (place.key, place.is_used) = (Some(key), true);
            return place.pair.take();
        }
        place.is_used = true;
        if original.is_displaced() || original.fields.len() > MAX_FIELDS {
            return place.pair.take();
        }
        let copy = Arc::new(original.copy_for_thread());
        place.pair.replace(Pair { original: Arc::clone(original), copy })
    });
    drop(replaced);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::{
        base::clock::Timestamp,
        cache::{
            key::CacheKey,
            policy::{Freshness, Stale},
            store::{
                Options,
                content::{Content, ContentId},
                index::Stored,
                memory::Memory,
                purge_mark::PurgeMark,
            },
        },
    };

    fn key() -> CacheKey {
        CacheKey::from_bytes(b"d\0/a.png")
    }

    /// A response of `length` bytes, none of which is needed.
    fn response(length: u64) -> Arc<StoredResponse> {
        let content = Arc::new(Content::new(ContentId(length), length));
        let at = Timestamp::default();
        let (fields, stale) = (HeaderMap::new(), Stale::default());
        let freshness = Freshness { received_at: at, initial_age: 0, fresh_until: at, stale };
        let mark = PurgeMark::default();
        Arc::new(StoredResponse::new(StatusCode::OK, &fields, freshness, content, mark))
    }

    fn found(memory: &Memory) -> Option<Arc<StoredResponse>> {
        match memory.get(&key(), Timestamp::default()) {
            Some(Stored::Response(response)) => Some(response),
            _ => None,
        }
    }

    fn memory() -> Memory {
        Memory::new(&Options::default(), [1, 2], None)
    }

    #[test]
    fn a_response_in_use_is_copied_until_it_is_replaced_removed_or_idle() {
        copy_hot_responses();
        let memory = memory();
        let original = response(1);
        memory.insert(&key(), Arc::clone(&original));
        let shared = |memory: &Memory| Arc::ptr_eq(&found(memory).expect("stored"), &original);
        assert_eq!([(); 4].map(|()| shared(&memory)), [true, true, false, false]);
        drop_idle_copies();
        assert!(!shared(&memory), "it was used");
        drop_idle_copies();
        drop_idle_copies();
        assert!(shared(&memory), "it was idle");
        memory.insert(&key(), response(2));
        for _ in 0..4 {
            assert_eq!(found(&memory).expect("stored").length(), 2);
        }
        memory.remove(&key());
        assert!(found(&memory).is_none());
        drop_idle_copies();
        assert_eq!(Arc::strong_count(&original), 1);
    }

    /// Another store with the same hash function.
    #[test]
    fn copies_belong_to_one_store() {
        copy_hot_responses();
        let (one, other) = (memory(), memory());
        one.insert(&key(), response(1));
        other.insert(&key(), response(2));
        for _ in 0..8 {
            assert_eq!(found(&one).expect("stored").length(), 1);
        }
        assert_eq!(found(&other).expect("stored").length(), 2);
    }

    /// A lookup that begins after a replacement ended never finds what was replaced.
    #[test]
    fn no_thread_finds_what_was_replaced_before() {
        const LAST: u64 = 20_000;
        let (memory, newest) = (memory(), AtomicU64::new(1));
        memory.insert(&key(), response(1));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    copy_hot_responses();
                    loop {
                        let least = newest.load(Ordering::Acquire);
                        let length = found(&memory).expect("stored").length();
                        assert!(length >= least, "{length} after {least}");
                        if least == LAST {
                            break;
                        }
                    }
                });
            }
            for version in 2..=LAST {
                memory.insert(&key(), response(version));
                newest.store(version, Ordering::Release);
            }
        });
    }
}
