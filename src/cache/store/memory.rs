//! The memory tier: stored responses and slices, bounded in bytes, evicted least recently or least frequently used first.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use moka::{notification::RemovalCause, policy::EvictionPolicy, sync::Cache};
use parking_lot::Mutex;
use siphasher::sip128::{Hash128, SipHasher13};

use super::{
    content::ContentId,
    encoded::Encoded,
    evicted::{Evicted, EvictedResponse},
    hot_copies,
    index::{Index, Note, Stored},
    ledger::Ledger,
    memory_use::MemoryUse,
    options::{Eviction, Options},
    response::StoredResponse,
    weights::{Entry, Piece, limit, piece_weight, stored_weight, weight},
};
use crate::{
    base::clock::Timestamp,
    cache::{
        digest::{ByDigest, Digest},
        key::CacheKey,
    },
    http::coding::Coding,
};

/// An entry's use is recorded once per turn. A turn ends when one sixteenth of the bound has been inserted.
const TURNS: u64 = 16;

/// A turn also ends after this many milliseconds, so that use is recorded even without inserts.
const TURN: u64 = 600_000;

/// The value of a digest.
pub(super) enum Found {
    Stored(Stored),
    Slice(Bytes),
}

/// Called with each response that is evicted for lack of room. Must not wait.
pub(super) type OnEviction = Box<dyn Fn(Digest, &StoredResponse) + Send + Sync>;

thread_local! {
    /// Whether this thread removes entries to make room, so that they count as evicted.
    pub(super) static DISPLACES: Cell<bool> = const { Cell::new(false) };
}

/// Responses and slices in one order of eviction under one bound.
pub(super) struct Memory {
    /// Distinguishes it from other stores' in the same process.
    serial: u64,
    pub(super) cache: Cache<Digest, Entry, ByDigest>,
    pub(super) index: Arc<Index>,
    digests: SipHasher13,
    pub(super) ledger: Arc<Ledger>,
    pub(super) bound: u64,
    pub(super) eviction: Eviction,
    pub(super) slice: u32,
    /// Bytes inserted since the start.
    taken: AtomicU64,
    evicted: Arc<Evicted>,
    /// Held by the thread that makes room.
    pub(super) displacing: Mutex<()>,
}

impl Memory {
    pub(super) fn new(
        &Options { memory: bound, eviction, slice, .. }: &Options,
        [one, other]: [u64; 2],
        on_eviction: Option<OnEviction>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (index, evicted) = (Arc::new(Index::new()), Arc::<Evicted>::default());
        let (weighed, indexed) = (Arc::clone(&index), Arc::clone(&index));
        let noted = Arc::clone(&evicted);
        let cache = Cache::builder()
            .max_capacity(limit(bound))
            .weigher(move |digest, entry| weight(&weighed, *digest, entry, slice))
            .eviction_policy(match eviction {
                Eviction::Lru => EvictionPolicy::lru(),
                Eviction::TinyLfu => EvictionPolicy::tiny_lfu(),
            })
            .eviction_listener(move |digest: Arc<Digest>, entry: Entry, cause| {
                // The index already has the new value.
                let is_gone = entry.is_none() && cause != RemovalCause::Replaced;
                let response = if is_gone { indexed.remove(*digest) } else { None };
                if cause == RemovalCause::Size || DISPLACES.get() {
                    noted.count();
                    if let Some(response) = response {
                        if response.status.is_success() {
                            let (fresh_until, mark) =
                                (response.freshness.fresh_until, response.mark);
                            noted.remember(*digest, EvictedResponse { fresh_until, mark });
                        }
                        if let Some(on_eviction) = &on_eviction {
                            on_eviction(*digest, &response);
                        }
                    }
                }
            })
            .build_with_hasher(ByDigest::default());
        let digests = SipHasher13::new_with_keys(one, other);
        let ledger = Arc::new(Ledger::new(bound));
        let (taken, displacing) = (AtomicU64::new(0), Mutex::new(()));
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            serial,
            cache,
            index,
            digests,
            ledger,
            bound,
            eviction,
            slice,
            taken,
            evicted,
            displacing,
        }
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
        let Some(stored) = self.find(digest) else {
            if self.eviction == Eviction::TinyLfu {
                // What is requested again and again must be admitted at last.
                let _ = self.cache.get(&digest);
            }
            return None;
        };
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
        self.insert_at(self.digest_of(key), response);
    }

    /// Stores a response under the key of a digest.
    pub(super) fn insert_at(&self, digest: Digest, response: Arc<StoredResponse>) {
        let turn = self.turn(digest, response.freshness.received_at);
        response.noted.store(turn, Ordering::Relaxed);
        self.store(digest, Stored::Response(response));
    }

    /// Stores a note under `key`.
    pub(super) fn insert_note(&self, key: &CacheKey, note: Note) {
        self.store(self.digest_of(key), Stored::Note(note));
    }

    pub(super) fn store(&self, digest: Digest, stored: Stored) {
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

    /// Stores the slice of a digest.
    pub(super) fn take_slice(&self, digest: Digest, bytes: Bytes) {
        self.insert_piece(digest, Piece::Slice(bytes));
    }

    /// The digests of the entries that were used most recently, up to `limit` bytes. The most recently used one is the
    /// last.
    pub(super) fn most_used(&self, limit: u64, now: Timestamp) -> Vec<Digest> {
        let age = |digest: Digest| match self.index.get(digest) {
            Some(Stored::Response(response)) => {
                self.turn(digest, now).wrapping_sub(response.noted.load(Ordering::Relaxed))
            }
            // Their use is not recorded.
            Some(Stored::Note(_)) | None => 1,
        };
        let weighed = |(digest, entry): (Arc<Digest>, Entry)| {
            (age(*digest), weight(&self.index, *digest, &entry, self.slice), *digest)
        };
        let mut all: Vec<_> = self.cache.iter().map(weighed).collect();
        all.sort_by_key(|(age, ..)| *age);
        let mut room = limit;
        let fits = |(_, weight, digest): (u8, u32, Digest)| {
            room = room.checked_sub(weight.into())?;
            Some(digest)
        };
        let mut most_used: Vec<Digest> = all.into_iter().map_while(fits).collect();
        most_used.reverse();
        most_used
    }

    /// The value of a digest, without recording its use.
    pub(super) fn found(&self, digest: Digest) -> Option<Found> {
        if let Some(stored) = self.index.get(digest) {
            return Some(Found::Stored(stored));
        }
        match &*self.cache.get(&digest)?? {
            Piece::Slice(bytes) => Some(Found::Slice(bytes.clone())),
            Piece::Encoded(_) | Piece::Room(_) => None,
        }
    }

    /// The evictions.
    pub(super) fn evicted(&self) -> &Evicted {
        &self.evicted
    }

    pub(super) fn usage(&self) -> MemoryUse {
        // This updates the count.
        self.cache.run_pending_tasks();
        MemoryUse {
            bytes: self.ledger.live(),
            entries: self.cache.entry_count(),
            evictions: self.evicted.evictions(),
            evicted_misses: self.evicted.misses(),
        }
    }

    /// Evicts at once if the live bytes exceed the limit for stored ones.
    fn settle(&self) {
        if self.ledger.live() > limit(self.bound) {
            self.cache.run_pending_tasks();
        }
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
    use std::time::Duration;

    use super::*;
    use crate::cache::{memfd::MemfdArena, store::ledger::with};

    const PATIENCE: Duration = Duration::from_millis(20);

    fn of(memory: u64, eviction: Eviction) -> Memory {
        Memory::new(&Options { memory, eviction, ..Options::default() }, [1, 2], None)
    }

    async fn slice(memory: &Memory, length: usize) -> Option<Bytes> {
        let charge = memory.reserve(length as u64, PATIENCE).await?;
        Some(charge.hold(MemfdArena::default().join(&[vec![0; length].into()])).into())
    }

    #[tokio::test]
    async fn pinned_bytes_count_against_the_bound() {
        let memory = of(1000, Eviction::Lru);
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
        let memory = of(100_000, Eviction::Lru);
        for index in 0..50 {
            let charge = memory.reserve(3_000, Duration::from_secs(10)).await.expect("room");
            let bytes = with(Bytes::from(vec![0; 100]), charge);
            memory.insert_slice(ContentId(1), index, bytes);
        }
        assert!(memory.usage().bytes <= 100_000);
    }

    #[tokio::test]
    async fn stored_bytes_give_way_least_recently_used_first() {
        let memory = of(16_000, Eviction::Lru);
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

    /// One request in two is for one of a few objects, the others are for new ones.
    #[tokio::test]
    async fn what_is_requested_often_stays_with_tiny_lfu() {
        let hits = async |eviction| {
            let memory = of(100_000, eviction);
            let mut hits = 0;
            for number in 0..4000_u64 {
                let content = if number % 2 == 0 { number / 2 % 50 } else { 1000 + number };
                if memory.slice(ContentId(content), 0).is_some() {
                    hits += 1;
                    continue;
                }
                let bytes = slice(&memory, 1000).await.expect("room");
                memory.insert_slice(ContentId(content), 0, bytes);
                memory.cache.run_pending_tasks();
            }
            assert!(memory.usage().bytes <= 100_000);
            hits
        };
        let (lru, tiny_lfu) = (hits(Eviction::Lru).await, hits(Eviction::TinyLfu).await);
        assert!(tiny_lfu > 1500 && lru < 500, "{tiny_lfu}, {lru}");
    }

    #[tokio::test]
    async fn arriving_bytes_displace_stored_ones_with_tiny_lfu() {
        let memory = of(100_000, Eviction::TinyLfu);
        let mut readers = Vec::new();
        for index in 0..60 {
            let bytes = slice(&memory, 1000).await.expect("room");
            memory.insert_slice(ContentId(1), index, bytes);
            memory.cache.run_pending_tasks();
        }
        let stored = memory.cache.entry_count();
        for _ in 0..60 {
            let charge = memory.reserve(1000, Duration::from_secs(10)).await.expect("room");
            readers.push(charge);
        }
        assert!(memory.usage().entries < stored);
        assert!(memory.usage().evictions > 0 && memory.usage().bytes <= 100_000);
    }
}
