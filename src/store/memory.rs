//! The memory tier: what is stored, bounded in bytes, evicted least recently used first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use moka::{
    notification::RemovalCause,
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::Cache,
};
use tokio::sync::Notify;

use super::{
    encoded::Encoded,
    purge::LogPosition,
    response::{ContentId, StoredResponse},
    variants::{MAX_VARIANTS, Variants},
};
use crate::{clock::Timestamp, key::CacheKey, pages::Pages, semantics::coding::Coding};

/// What a stored response costs beyond its fields and bytes: its own structures and the cache's
/// bookkeeping, measured at 200,000 stored responses.
const RESPONSE_OVERHEAD: usize = 900;

/// What a slice costs beyond its bytes.
const SLICE_OVERHEAD: usize = 450;

/// The part of the bound that is kept free of stored bytes: for slices being filled, and for
/// evicted ones that a reader still holds. One eighth.
const HEADROOM: u64 = 8;

/// How often a fill that finds no room looks again.
const TICK: Duration = Duration::from_millis(20);

/// What stands under a key.
#[derive(Clone)]
pub(super) enum Stored {
    Response(Arc<StoredResponse>),
    /// The last answer could not be stored: until then, do not make requests wait for each other.
    Pass {
        until: Timestamp,
        born: LogPosition,
    },
    Slice(Bytes),
    Varies(Arc<Variants>),
    Encoded(Arc<Encoded>),
}

impl Stored {
    fn weight(&self, key: &[u8]) -> u32 {
        let size = key.len()
            + match self {
                Self::Response(response) => response.size() + RESPONSE_OVERHEAD,
                Self::Pass { .. } => SLICE_OVERHEAD,
                // The keys of its variants: its own, and a digest.
                Self::Varies(_) => RESPONSE_OVERHEAD + MAX_VARIANTS * (key.len() + 64),
                Self::Encoded(encoded) => encoded.size() + RESPONSE_OVERHEAD,
                Self::Slice(bytes) => bytes.len() + SLICE_OVERHEAD,
            };
        u32::try_from(size).unwrap_or(u32::MAX)
    }
}

/// Counters of the memory tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of content alive: stored, being filled, or evicted but still being read.
    pub bytes: u64,
    /// Stored responses and slices.
    pub entries: u64,
    /// Evictions for want of room since the start.
    pub evictions: u64,
}

/// Responses and slices in one LRU order under one bound.
pub(super) struct Memory {
    cache: Cache<Box<[u8]>, Stored, ahash::RandomState>,
    ledger: Arc<Ledger>,
    evictions: Arc<AtomicU64>,
}

impl Memory {
    pub(super) fn new(bound: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&evictions);
        let cache = Cache::builder()
            .max_capacity(bound - bound / HEADROOM)
            .weigher(weigh)
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build_with_hasher(ahash::RandomState::new());
        Self { cache, ledger: Arc::new(Ledger::new(bound)), evictions }
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Stored> {
        self.cache.get(key.as_bytes())
    }

    pub(super) fn insert(&self, key: &CacheKey, stored: Stored) {
        self.cache.insert(key.as_bytes().into(), stored);
        self.settle();
    }

    /// Puts `new` in the place of `old`; gives back what stands there then, which may be newer still.
    pub(super) fn replace(
        &self,
        key: &CacheKey,
        old: &Arc<StoredResponse>,
        new: Arc<StoredResponse>,
    ) -> Arc<StoredResponse> {
        let is_old = |stored: &Stored| matches!(stored, Stored::Response(r) if Arc::ptr_eq(r, old));
        let entry = self.cache.entry(key.as_bytes().into()).and_compute_with(|entry| match entry {
            Some(entry) if is_old(entry.value()) => Op::Put(Stored::Response(Arc::clone(&new))),
            _ => Op::Nop,
        });
        match entry {
            CompResult::Unchanged(entry) => match entry.into_value() {
                Stored::Response(newer) => newer,
                _ => new,
            },
            _ => new,
        }
    }

    pub(super) fn remove(&self, key: &CacheKey) {
        self.cache.invalidate(key.as_bytes());
    }

    pub(super) fn slice(&self, content: ContentId, index: u32) -> Option<Bytes> {
        match self.cache.get(slice_key(content, index).as_slice())? {
            Stored::Slice(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn has_slice(&self, content: ContentId, index: u32) -> bool {
        self.cache.contains_key(slice_key(content, index).as_slice())
    }

    pub(super) fn insert_slice(&self, content: ContentId, index: u32, bytes: Bytes) {
        self.cache.insert(Box::new(slice_key(content, index)), Stored::Slice(bytes));
        self.settle();
    }

    pub(super) fn encoded(&self, content: ContentId, coding: Coding) -> Option<Arc<Encoded>> {
        match self.cache.get(encoded_key(content, coding).as_slice())? {
            Stored::Encoded(encoded) => Some(encoded),
            _ => None,
        }
    }

    pub(super) fn insert_encoded(&self, content: ContentId, coding: Coding, encoded: Encoded) {
        let key = Box::new(encoded_key(content, coding));
        self.cache.insert(key, Stored::Encoded(Arc::new(encoded)));
        self.settle();
    }

    /// Waits until `bytes` more fit under the bound; `None` when that takes too long.
    pub(super) async fn reserve(&self, bytes: u64, patience: Duration) -> Option<Charge> {
        let wait = async {
            loop {
                let freed = self.ledger.freed.notified();
                if let Some(charge) = self.ledger.charge(bytes) {
                    return charge;
                }
                // moka evicts behind our back; make it do so now.
                self.cache.run_pending_tasks();
                if let Some(charge) = self.ledger.charge(bytes) {
                    return charge;
                }
                if tokio::time::timeout(TICK, freed).await.is_err() {
                    self.displace(bytes);
                }
            }
        };
        tokio::time::timeout(patience, wait).await.ok()
    }

    /// Arriving bytes come before stored ones: takes out about as many as are wanted, whichever
    /// come first. Only where slow readers and fills hold all of the headroom.
    fn displace(&self, bytes: u64) {
        let mut displaced = 0;
        for (key, stored) in &self.cache {
            if displaced >= bytes {
                break;
            }
            displaced += u64::from(stored.weight(&key));
            self.cache.invalidate(key.as_ref());
        }
    }

    pub(super) fn usage(&self) -> MemoryUse {
        // The count is brought up to date by this.
        self.cache.run_pending_tasks();
        MemoryUse {
            bytes: self.ledger.live.load(Ordering::Relaxed),
            entries: self.cache.entry_count(),
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }

    /// Evicts at once when what is alive outgrows what may be stored.
    fn settle(&self) {
        let live = self.ledger.live.load(Ordering::Relaxed);
        if live > self.ledger.bound - self.ledger.bound / HEADROOM {
            self.cache.run_pending_tasks();
        }
    }
}

#[expect(clippy::borrowed_box, reason = "the cache passes its keys as it holds them")]
fn weigh(key: &Box<[u8]>, stored: &Stored) -> u32 {
    stored.weight(key)
}

/// A slice's key begins with a byte that no distribution's id can begin with.
fn slice_key(content: ContentId, index: u32) -> [u8; 13] {
    let mut key = [u8::MAX; 13];
    key[1..9].copy_from_slice(&content.0.to_be_bytes());
    key[9..].copy_from_slice(&index.to_be_bytes());
    key
}

/// As that of a slice, with a length of its own.
fn encoded_key(content: ContentId, coding: Coding) -> [u8; 10] {
    let mut key = [u8::MAX; 10];
    key[1..9].copy_from_slice(&content.0.to_be_bytes());
    key[9] = coding as u8;
    key
}

/// Counts the bytes of content that are alive, whoever holds them.
#[derive(Debug)]
struct Ledger {
    bound: u64,
    live: AtomicU64,
    freed: Notify,
}

impl Ledger {
    fn new(bound: u64) -> Self {
        Self { bound, live: AtomicU64::new(0), freed: Notify::new() }
    }

    fn charge(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        let fits = |live: u64| live.checked_add(bytes).filter(|&sum| sum <= self.bound);
        self.live.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(Charge { ledger: Arc::clone(self), bytes })
    }
}

/// A right to hold this many bytes of content, given back when dropped.
#[derive(Debug)]
pub(super) struct Charge {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Charge {
    /// Takes the right of another over.
    pub(super) fn take_over(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Bytes that carry this charge for as long as anybody holds any part of them.
    pub(super) fn hold(self, content: Pages) -> Bytes {
        Bytes::from_owner(Charged { content, _charge: self })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.live.fetch_sub(self.bytes, Ordering::AcqRel);
        self.ledger.freed.notify_waiters();
    }
}

struct Charged {
    content: Pages,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        self.content.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::PageFile;

    const PATIENCE: Duration = Duration::from_millis(20);

    async fn slice(memory: &Memory, length: usize) -> Option<Bytes> {
        let charge = memory.reserve(length as u64, PATIENCE).await?;
        Some(charge.hold(PageFile::default().join(&[vec![0; length].into()])))
    }

    #[tokio::test]
    async fn pinned_bytes_count_against_the_bound() {
        let memory = Memory::new(1000);
        let pinned = slice(&memory, 700).await.expect("room");
        assert!(slice(&memory, 400).await.is_none());
        let part = pinned.slice(..1);
        drop(pinned);
        assert!(slice(&memory, 400).await.is_none(), "a part pins the whole");
        drop(part);
        assert!(slice(&memory, 400).await.is_some());
        assert_eq!(memory.usage().bytes, 0);
    }

    #[tokio::test]
    async fn stored_bytes_give_way_least_recently_used_first() {
        let memory = Memory::new(16_000);
        for index in 0..30 {
            let bytes = slice(&memory, 1000).await.expect("room is made");
            memory.insert_slice(ContentId(1), index, bytes);
            memory.cache.run_pending_tasks();
            assert!(memory.slice(ContentId(1), 0).is_some(), "touched, so kept");
            memory.cache.run_pending_tasks();
        }
        assert!(memory.usage().bytes <= 16_000);
        assert!(memory.slice(ContentId(1), 29).is_some());
        assert!(memory.slice(ContentId(1), 1).is_none());
        assert!(memory.usage().evictions >= 15);
    }
}
