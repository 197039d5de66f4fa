//! The memory tier: what is stored, bounded in bytes, evicted least recently used first.

use std::{
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState},
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
use siphasher::sip128::{Hash128, SipHasher13};
use tokio::sync::Notify;

use super::{
    encoded::Encoded,
    purge::LogPosition,
    response::{ContentId, StoredResponse},
    variants::Variants,
};
use crate::{clock::Timestamp, key::CacheKey, pages::Pages, semantics::coding::Coding};

/// What a stored response costs beyond its fields and bytes: its own structures and the cache's
/// bookkeeping. With a million stored responses it was 550, as the process's memory tells.
const RESPONSE_OVERHEAD: usize = 650;

/// What a slice costs beyond its bytes.
const SLICE_OVERHEAD: usize = 450;

/// The part of the bound that is kept free of stored bytes: for slices being filled, and for
/// evicted ones that a reader still holds. One eighth.
const HEADROOM: u64 = 8;

/// How often a fill that finds no room looks again.
const TICK: Duration = Duration::from_millis(20);

/// Until when requests do not wait for each other.
pub(super) struct Pass {
    pub(super) until: Timestamp,
    pub(super) born: LogPosition,
}

/// What stands under a key; one pointer, for there is one in every entry.
#[derive(Clone)]
pub(super) enum Stored {
    Response(Arc<StoredResponse>),
    /// The last answer could not be stored: until then, do not make requests wait for each other.
    Pass(Arc<Pass>),
    Slice(Arc<Bytes>),
    Varies(Arc<Variants>),
    Encoded(Arc<Encoded>),
}

impl Stored {
    fn weight(&self) -> u32 {
        let size = match self {
            Self::Response(response) => response.size() + RESPONSE_OVERHEAD,
            Self::Pass(_) => SLICE_OVERHEAD,
            Self::Varies(variants) => RESPONSE_OVERHEAD + variants.size(),
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

/// What stands for a key: 128 bits by a secret function of it. Nobody can look for two keys with the same
/// digest; that any two of a thousand million have one by chance is less likely than 1 : 10^20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digest(u64, u64);

impl Hash for Digest {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0);
    }
}

/// A digest is a hash already.
#[derive(Default)]
struct Leading(u64);

impl Hasher for Leading {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Responses and slices in one LRU order under one bound.
pub(super) struct Memory {
    cache: Cache<Digest, Stored, BuildHasherDefault<Leading>>,
    digests: SipHasher13,
    ledger: Arc<Ledger>,
    evictions: Arc<AtomicU64>,
}

impl Memory {
    pub(super) fn new(bound: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&evictions);
        let cache = Cache::builder()
            .max_capacity(bound - bound / HEADROOM)
            .weigher(|_, stored: &Stored| stored.weight())
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build_with_hasher(BuildHasherDefault::default());
        let [one, other] = [(); 2].map(|()| RandomState::new().hash_one(()));
        let digests = SipHasher13::new_with_keys(one, other);
        Self { cache, digests, ledger: Arc::new(Ledger::new(bound)), evictions }
    }

    fn digest(&self, key: &[u8]) -> Digest {
        let Hash128 { h1, h2 } = self.digests.hash(key);
        Digest(h1, h2)
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Stored> {
        self.cache.get(&self.digest(key.as_bytes()))
    }

    pub(super) fn insert(&self, key: &CacheKey, stored: Stored) {
        self.cache.insert(self.digest(key.as_bytes()), stored);
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
        let entry = self.cache.entry(self.digest(key.as_bytes()));
        let entry = entry.and_compute_with(|entry| match entry {
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
        self.cache.invalidate(&self.digest(key.as_bytes()));
    }

    pub(super) fn slice(&self, content: ContentId, index: u32) -> Option<Bytes> {
        match self.cache.get(&self.digest(&slice_key(content, index)))? {
            Stored::Slice(bytes) => Some(Bytes::clone(&bytes)),
            _ => None,
        }
    }

    pub(super) fn has_slice(&self, content: ContentId, index: u32) -> bool {
        self.cache.contains_key(&self.digest(&slice_key(content, index)))
    }

    pub(super) fn insert_slice(&self, content: ContentId, index: u32, bytes: Bytes) {
        let key = self.digest(&slice_key(content, index));
        self.cache.insert(key, Stored::Slice(Arc::new(bytes)));
        self.settle();
    }

    pub(super) fn encoded(&self, content: ContentId, coding: Coding) -> Option<Arc<Encoded>> {
        match self.cache.get(&self.digest(&encoded_key(content, coding)))? {
            Stored::Encoded(encoded) => Some(encoded),
            _ => None,
        }
    }

    pub(super) fn insert_encoded(&self, content: ContentId, coding: Coding, encoded: Encoded) {
        let key = self.digest(&encoded_key(content, coding));
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
            displaced += u64::from(stored.weight());
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

    fn give_back(&self, bytes: u64) {
        self.live.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_waiters();
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
    pub(super) fn hold(mut self, content: Pages) -> Bytes {
        match content.into_heap() {
            Ok(content) if self.bytes == content.len() as u64 => {
                self.bytes = 0;
                Bytes::from_owner(Counted { content, ledger: Arc::clone(&self.ledger) })
            }
            Ok(content) => Bytes::from_owner(Charged { content, _charge: self }),
            Err(content) => Bytes::from_owner(Charged { content, _charge: self }),
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.give_back(self.bytes);
    }
}

/// Small content, of which there is much: the charge is its length.
struct Counted {
    content: Box<[u8]>,
    ledger: Arc<Ledger>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.ledger.give_back(self.content.len() as u64);
    }
}

struct Charged<C> {
    content: C,
    _charge: Charge,
}

impl<C: AsRef<[u8]>> AsRef<[u8]> for Charged<C> {
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
