//! The memory tier: stored responses and slices, bounded in bytes, evicted least recently used first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use moka::{notification::RemovalCause, policy::EvictionPolicy, sync::Cache};
use parking_lot::Mutex;
use siphasher::sip128::{Hash128, SipHasher13};

use super::{
    content::ContentId,
    encoded::Encoded,
    hot_copies,
    index::{Index, Note, Stored},
    ledger::{Charge, Ledger},
    response::StoredResponse,
};
use crate::{
    base::clock::Timestamp,
    cache::{
        digest::{ByDigest, Digest},
        key::CacheKey,
        memfd::footprint,
    },
    http::coding::Coding,
};

/// The cost of a stored response beyond its fields and bytes: its own structures and the cache's
/// bookkeeping. With a million stored responses, 550 were measured from the process's memory.
const RESPONSE_OVERHEAD: usize = 650;

/// The cost of a slice beyond its bytes.
const SLICE_OVERHEAD: usize = 450;

/// The fraction of the bound (one eighth) that is kept free of stored bytes: for slices being filled,
/// and for evicted ones that a reader still holds.
const HEADROOM: u64 = 8;

/// An entry's use is recorded once per turn. A turn ends when one sixteenth of the bound has been inserted.
const TURNS: u64 = 16;

/// A turn also ends after this many milliseconds, so that use is recorded even without inserts.
const TURN: u64 = 600_000;

/// How often a fill that finds no room retries.
const TICK: Duration = Duration::from_millis(20);

/// A slice or compressed form of a content.
enum Piece {
    Slice(Bytes),
    Encoded(Arc<Encoded>),
    /// No content, but this weight.
    Room(usize),
}

/// An entry of the LRU cache, of which there are millions: a piece, or `None` if the value is in the index.
type Entry = Option<Arc<Piece>>;

/// Counters of the memory tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of content alive: stored, being filled, or evicted but still being read.
    pub bytes: u64,
    /// Stored responses and slices.
    pub entries: u64,
    /// Evictions for lack of room since the start.
    pub evictions: u64,
}

/// Called with each response that is evicted for lack of room. Must not wait.
pub(super) type OnEviction = Box<dyn Fn(Digest, &StoredResponse) + Send + Sync>;

/// Responses and slices in one LRU order under one bound.
pub(super) struct Memory {
    /// Distinguishes it from other stores' in the same process.
    serial: u64,
    cache: Cache<Digest, Entry, ByDigest>,
    index: Arc<Index>,
    digests: SipHasher13,
    ledger: Arc<Ledger>,
    bound: u64,
    slice: u32,
    /// Bytes inserted since the start.
    taken: AtomicU64,
    evictions: Arc<AtomicU64>,
    /// Held by the thread that makes room.
    displacing: Mutex<()>,
}

impl Memory {
    pub(super) fn new(
        bound: u64,
        slice: u32,
        [one, other]: [u64; 2],
        on_eviction: Option<OnEviction>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (index, evictions) = (Arc::new(Index::new()), Arc::new(AtomicU64::new(0)));
        let (weighed, indexed) = (Arc::clone(&index), Arc::clone(&index));
        let counter = Arc::clone(&evictions);
        let cache = Cache::builder()
            .max_capacity(limit(bound))
            .weigher(move |digest, entry| weight(&weighed, *digest, entry, slice))
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |digest: Arc<Digest>, entry: Entry, cause| {
                // The index already has the new value.
                let is_gone = entry.is_none() && cause != RemovalCause::Replaced;
                let response = if is_gone { indexed.remove(*digest) } else { None };
                if cause == RemovalCause::Size {
                    counter.fetch_add(1, Ordering::Relaxed);
                    if let (Some(response), Some(on_eviction)) = (response, &on_eviction) {
                        on_eviction(*digest, &response);
                    }
                }
            })
            .build_with_hasher(ByDigest::default());
        let digests = SipHasher13::new_with_keys(one, other);
        let ledger = Arc::new(Ledger::new(bound));
        let (taken, displacing) = (AtomicU64::new(0), Mutex::new(()));
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { serial, cache, index, digests, ledger, bound, slice, taken, evictions, displacing }
    }

    fn digest(&self, key: &[u8]) -> Digest {
        let Hash128 { h1, h2 } = self.digests.hash(key);
        Digest(h1, h2)
    }

    pub(super) fn digest_of(&self, key: &CacheKey) -> Digest {
        self.digest(key.as_bytes())
    }

    /// The value stored under `key`; records its use.
    pub(super) fn get(&self, key: &CacheKey, now: Timestamp) -> Option<Stored> {
        let digest = self.digest_of(key);
        let stored = self.find(digest)?;
        let turn = self.turn(digest, now);
        let known = match &stored {
            Stored::Response(response) => {
                response.prefetch();
                // Read first: threads that use one response share this cache line.
                let known = response.noted.load(Ordering::Relaxed) == turn;
                if !known {
                    response.noted.store(turn, Ordering::Relaxed);
                }
                known
            }
            Stored::Note(_) => false,
        };
        if !known {
            let _ = self.cache.get(&digest);
        }
        Some(stored)
    }

    /// The value stored under a digest; the thread's own copy, if there is one.
    fn find(&self, digest: Digest) -> Option<Stored> {
        let key = (self.serial, digest);
        if let Some(copy) = hot_copies::find(key) {
            return Some(Stored::Response(copy));
        }
        let stored = self.index.get(digest)?;
        if let Stored::Response(response) = &stored {
            hot_copies::offer(key, response);
        }
        Some(stored)
    }

    /// The value stored under `key`, without recording its use.
    pub(super) fn current(&self, key: &CacheKey) -> Option<Stored> {
        self.index.get(self.digest_of(key))
    }

    /// Records the use of the value stored under `key`.
    pub(super) fn touch(&self, key: &CacheKey) {
        let _ = self.cache.get(&self.digest_of(key));
    }

    /// The current turn of a digest. Turns of different digests start at different times, to spread the
    /// updates of the LRU. The counter wraps: before a number repeats, an unused entry is evicted or has
    /// been recorded again.
    #[expect(clippy::cast_possible_truncation, reason = "turns differ in their last bits")]
    fn turn(&self, digest: Digest, now: Timestamp) -> u8 {
        let part = (self.bound / TURNS).max(1);
        let came_in = self.taken.load(Ordering::Relaxed).wrapping_add(digest.1 % part) / part;
        let passed = now.as_millis().saturating_add(digest.1 % TURN) / TURN;
        came_in.wrapping_add(passed) as u8
    }

    /// Stores a response under `key`.
    pub(super) fn insert(&self, key: &CacheKey, response: Arc<StoredResponse>) {
        let digest = self.digest_of(key);
        let turn = self.turn(digest, response.freshness.received_at);
        response.noted.store(turn, Ordering::Relaxed);
        self.store(digest, Stored::Response(response));
    }

    /// Stores a note under `key`.
    pub(super) fn insert_note(&self, key: &CacheKey, note: Note) {
        self.store(self.digest_of(key), Stored::Note(note));
    }

    fn store(&self, digest: Digest, stored: Stored) {
        let weight = stored_weight(&stored, self.slice);
        self.index.insert(digest, stored);
        self.take(digest, None, weight);
    }

    fn insert_piece(&self, digest: Digest, piece: Piece) {
        let weight = piece_weight(&piece, self.slice);
        self.take(digest, Some(Arc::new(piece)), weight);
    }

    fn take(&self, digest: Digest, entry: Entry, weight: usize) {
        self.taken.fetch_add(weight as u64, Ordering::Relaxed);
        self.cache.insert(digest, entry);
        self.settle();
    }

    /// Replaces `old` with `new`, which weighs the same; returns the value that is current afterwards,
    /// which may be newer still.
    pub(super) fn replace(
        &self,
        key: &CacheKey,
        old: &Arc<StoredResponse>,
        new: Arc<StoredResponse>,
    ) -> Arc<StoredResponse> {
        self.index.replace(self.digest_of(key), old, new)
    }

    pub(super) fn remove(&self, key: &CacheKey) {
        self.cache.invalidate(&self.digest_of(key));
    }

    /// The digest of a slice.
    pub(super) fn slice_digest(&self, content: ContentId, index: u32) -> Digest {
        self.digest(&slice_key(content, index))
    }

    /// The digest of a compressed form.
    pub(super) fn encoded_digest(&self, content: ContentId, coding: Coding) -> Digest {
        self.digest(&encoded_key(content, coding))
    }

    pub(super) fn slice(&self, content: ContentId, index: u32) -> Option<Bytes> {
        match &*self.cache.get(&self.slice_digest(content, index))?? {
            Piece::Slice(bytes) => Some(Bytes::clone(bytes)),
            Piece::Encoded(_) | Piece::Room(_) => None,
        }
    }

    pub(super) fn has_slice(&self, content: ContentId, index: u32) -> bool {
        self.cache.contains_key(&self.slice_digest(content, index))
    }

    pub(super) fn insert_slice(&self, content: ContentId, index: u32, bytes: Bytes) {
        self.insert_piece(self.slice_digest(content, index), Piece::Slice(bytes));
    }

    pub(super) fn encoded(&self, content: ContentId, coding: Coding) -> Option<Arc<Encoded>> {
        match &*self.cache.get(&self.encoded_digest(content, coding))?? {
            Piece::Encoded(encoded) => Some(Arc::clone(encoded)),
            Piece::Slice(_) | Piece::Room(_) => None,
        }
    }

    pub(super) fn insert_encoded(&self, content: ContentId, coding: Coding, encoded: Encoded) {
        let piece = Piece::Encoded(Arc::new(encoded));
        self.insert_piece(self.encoded_digest(content, coding), piece);
    }

    /// Waits until `bytes` more fit under the bound; `None` if that takes too long.
    pub(super) async fn reserve(&self, bytes: u64, patience: Duration) -> Option<Charge> {
        let wait = async {
            loop {
                let freed = self.ledger.freed();
                if let Some(charge) = self.ledger.charge(bytes) {
                    return charge;
                }
                // moka evicts in the background; force it now.
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

    /// Charges `bytes` more; `None` if they do not fit at once.
    pub(super) fn charge(&self, bytes: u64) -> Option<Charge> {
        self.ledger.charge(bytes)
    }

    /// Evicts the least recently used entries, about `bytes` of them, because arriving bytes have priority. Needed only
    /// if slow readers and fills hold all of the headroom.
    fn displace(&self, bytes: u64) {
        let Some(_one) = self.displacing.try_lock() else { return };
        // Inserts entries as heavy as `bytes` and all that is free, then removes them.
        let most = limit(self.bound);
        let free = most.saturating_sub(self.cache.weighted_size());
        let mut room = free.saturating_add(bytes).min(most);
        let mut inserted = Vec::new();
        while room > 0 {
            // Weights have 32 bits.
            let part = room.min(u32::MAX.into());
            room -= part;
            let digest = Digest(fastrand::u64(..), fastrand::u64(..));
            let part = usize::try_from(part).unwrap_or(usize::MAX);
            self.cache.insert(digest, Some(Arc::new(Piece::Room(part))));
            inserted.push(digest);
        }
        self.cache.run_pending_tasks();
        for digest in inserted {
            self.cache.invalidate(&digest);
        }
    }

    pub(super) fn usage(&self) -> MemoryUse {
        // This updates the count.
        self.cache.run_pending_tasks();
        MemoryUse {
            bytes: self.ledger.live(),
            entries: self.cache.entry_count(),
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }

    /// Evicts at once if the live bytes exceed the limit for stored ones.
    fn settle(&self) {
        if self.ledger.live() > limit(self.bound) {
            self.cache.run_pending_tasks();
        }
    }
}

/// The bytes that may be stored, of those that may be alive.
const fn limit(bound: u64) -> u64 {
    bound - bound / HEADROOM
}

/// The weight of an entry in bytes, if slices are `slice` bytes long.
fn weight(index: &Index, digest: Digest, entry: &Entry, slice: u32) -> u32 {
    let size = match entry {
        Some(piece) => piece_weight(piece, slice),
        None => {
            let stored = index.get(digest);
            stored.map_or(RESPONSE_OVERHEAD, |stored| stored_weight(&stored, slice))
        }
    };
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn stored_weight(stored: &Stored, slice: u32) -> usize {
    match stored {
        Stored::Response(response) => response.size(slice) + RESPONSE_OVERHEAD,
        Stored::Note(Note::Varies(variants)) => variants.size() + RESPONSE_OVERHEAD,
        Stored::Note(Note::HitForMiss(_)) => RESPONSE_OVERHEAD,
    }
}

fn piece_weight(piece: &Piece, slice: u32) -> usize {
    match piece {
        Piece::Slice(bytes) => footprint(bytes.len()) + SLICE_OVERHEAD,
        Piece::Encoded(encoded) => encoded.size(slice) + RESPONSE_OVERHEAD,
        Piece::Room(bytes) => *bytes,
    }
}

/// The key of a slice. It begins with a byte that no distribution's id begins with.
pub(super) fn slice_key(content: ContentId, index: u32) -> [u8; 13] {
    let mut key = [u8::MAX; 13];
    key[1..9].copy_from_slice(&content.0.to_be_bytes());
    key[9..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The key of a compressed form: like a slice's key, but of a different length.
pub(super) fn encoded_key(content: ContentId, coding: Coding) -> [u8; 10] {
    let mut key = [u8::MAX; 10];
    key[1..9].copy_from_slice(&content.0.to_be_bytes());
    key[9] = coding as u8;
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{memfd::MemfdArena, store::ledger::with};

    const PATIENCE: Duration = Duration::from_millis(20);

    async fn slice(memory: &Memory, length: usize) -> Option<Bytes> {
        let charge = memory.reserve(length as u64, PATIENCE).await?;
        Some(charge.hold(MemfdArena::default().join(&[vec![0; length].into()])).into())
    }

    #[tokio::test]
    async fn pinned_bytes_count_against_the_bound() {
        let memory = Memory::new(1000, 1 << 20, [1, 2], None);
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
    async fn stored_bytes_give_way_even_if_they_weigh_less_than_they_take() {
        let memory = Memory::new(100_000, 1 << 20, [1, 2], None);
        for index in 0..50 {
            let charge = memory.reserve(3_000, Duration::from_secs(10)).await.expect("room");
            let bytes = with(Bytes::from(vec![0; 100]), charge);
            memory.insert_slice(ContentId(1), index, bytes);
        }
        assert!(memory.usage().bytes <= 100_000);
    }

    #[tokio::test]
    async fn stored_bytes_give_way_least_recently_used_first() {
        let memory = Memory::new(16_000, 1 << 20, [1, 2], None);
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
