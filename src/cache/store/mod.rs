//! The store: stored responses, fetches in flight, and purges.
//!
//! A request looks up its key. If the response must be fetched, it *claims* the key. The first claim
//! gets an `Obligation`, the others a `Waiter`. The content arrives in slices through *fills*, which
//! stream the bytes to every reader as they arrive.

mod body_buffer;
mod cache_tags;
mod content;
mod content_state;
mod disk_journal;
mod disk_record;
mod disk_tier;
mod encoded;
mod evicted;
mod fields;
mod fill;
mod floor;
mod hold;
mod hot_copies;
mod identity;
mod in_flight;
mod index;
mod invalidated;
mod late_invalidation;
mod ledger;
mod lookup;
mod memory;
mod memory_record;
mod memory_room;
mod memory_use;
mod opening;
mod options;
mod pins;
mod predecessor;
mod purge;
mod purge_entry;
mod purge_file;
mod purge_floors;
mod purge_journal;
mod purge_lease;
mod purge_log;
mod purge_mark;
mod purge_state;
mod purging;
mod reader;
mod receive;
mod renewals;
mod response;
mod room;
mod shared_journal;
mod slices;
mod source;
mod successor;
mod transfer;
mod variants;
mod vary;
mod weights;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, atomic::AtomicBool},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::broadcast;

pub(crate) use body_buffer::{BodyBuffer, TooLong};
pub(crate) use cache_tags::{CacheTags, Tag};
use content::ContentIds;
pub(crate) use content::{Content, ContentId, Layout};
pub(crate) use content_state::ContentState;
#[cfg(feature = "fuzz")]
pub use disk_record::read_segment;
pub(crate) use disk_tier::FROM_DISK;
use disk_tier::Recalls;
pub(crate) use encoded::EncodedVariant;
pub(crate) use fields::FieldBlock;
use fill::{Fill, FillTask, Fills};
use floor::PurgeVerdict;
pub(crate) use hold::Hold;
pub use hot_copies::{copy_hot_responses, drop_idle_copies};
pub(crate) use identity::StoreIdentity;
use in_flight::InFlight;
pub(crate) use in_flight::{FetchError, FetchOutcome, Obligation};
use index::Stored;
pub(crate) use invalidated::Invalidations;
pub(crate) use late_invalidation::{LateInvalidation, ServedBy};
use ledger::Ledger;
pub use lookup::FetchLock;
pub(crate) use lookup::{Lookup, Peeked};
use memory::Memory;
pub(crate) use memory_record::MemoryRecord;
pub(crate) use memory_use::MemoryUse;
pub(crate) use opening::examine_disk;
pub use opening::{OpenError, check_purges};
pub use options::{Eviction, Options};
use pins::Pins;
pub(crate) use predecessor::{ForPredecessor, Predecessor};
pub use purge::{Purge, PurgeMode};
pub(crate) use purge_entry::{PurgeChange, PurgeEntry};
pub(crate) use purge_floors::PurgeFloors;
use purge_journal::MemoryPurgeJournal;
pub(crate) use purge_lease::PurgeLease;
pub(crate) use purge_log::PurgeLog;
pub use purge_log::{PurgeBatch, PurgeError};
pub(crate) use purge_mark::LogPosition;
pub(crate) use purge_state::PurgeState;
pub(crate) use reader::{Presence, Reader};
pub(crate) use receive::NO_ROOM;
use renewals::Renewals;
pub use response::StoredResponse;
pub use room::Room;
pub(crate) use shared_journal::PausedJournal;
use shared_journal::SharedJournal;
pub(crate) use source::{SliceSource, SourceError};
pub(crate) use successor::ForSuccessor;
use successor::Successor;
pub(crate) use transfer::RECORDS;
pub use variants::VariantSlot;

use crate::{
    base::clock::Timestamp,
    cache::{
        digest::{ByDigest, Digest},
        disk::Disk,
        key::CacheKey,
        memfd::MemfdArena,
    },
    http::body::Body,
};

/// Locks for changes that concern memory and disk; each is for some of the keys.
const KEY_LOCKS: usize = 64;

/// Invalidations that wait to be sent to another process.
const LATE_INVALIDATIONS: usize = 4096;

/// Stored responses, fetches in flight, and purges.
pub struct Store {
    identity: StoreIdentity,
    options: Options,
    pages: MemfdArena,
    memory: Memory,
    fills: Fills,
    flights: Mutex<HashMap<Digest, Arc<InFlight>, ByDigest>>,
    contents: ContentIds,
    floors: Arc<PurgeFloors>,
    purge_log: Box<dyn PurgeLog>,
    purge_journal: Arc<SharedJournal>,
    successor: Successor,
    /// Invalidations for the other processes of an upgrade.
    invalidated: broadcast::Sender<LateInvalidation>,
    /// Whether purges may be missing, so that nothing stored may be used without validation.
    is_distrusted: AtomicBool,
    lease: Option<Arc<PurgeLease>>,
    pins: Arc<Pins>,
    copies: Arc<Ledger>,
    disk: Option<Arc<Disk>>,
    recalls: Recalls,
    renewals: Arc<Renewals>,
    key_locks: [Mutex<()>; KEY_LOCKS],
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store that does not outlive the process.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::in_memory(options, PurgeState::local_log)
    }

    /// An empty store that does not outlive the process, with this log of purges.
    pub(crate) fn in_memory(
        options: Options,
        log: impl FnOnce(PurgeState) -> Box<dyn PurgeLog>,
    ) -> Self {
        Self::in_memory_of(StoreIdentity::ephemeral(), options, log)
    }

    fn in_memory_of(
        identity: StoreIdentity,
        options: Options,
        log: impl FnOnce(PurgeState) -> Box<dyn PurgeLog>,
    ) -> Self {
        let floors = Arc::new(PurgeFloors::new(identity));
        let journal = Arc::new(MemoryPurgeJournal(Arc::clone(&floors)));
        let state = PurgeState { floors, journal, epoch: identity.epoch };
        Self::open(options, identity, state, log, None)
    }

    /// Opens a store that knows the purges of `state`, which outlived the last process. `disk` has the same identity.
    fn open(
        options: Options,
        identity: StoreIdentity,
        state: PurgeState,
        log: impl FnOnce(PurgeState) -> Box<dyn PurgeLog>,
        disk: Option<Arc<Disk>>,
    ) -> Self {
        let floors = Arc::clone(&state.floors);
        let purge_journal = Arc::new(SharedJournal::new(state.journal, Arc::clone(&floors)));
        let state = PurgeState { journal: purge_journal.clone(), ..state };
        let renewals = Arc::new(Renewals::new(options.slice));
        let on_eviction = disk.as_ref().map(|disk| renewals.on_eviction(Arc::clone(disk)));
        let (secret, purge_log) = (identity.secret, log(state));
        Self {
            identity,
            options,
            pages: MemfdArena::new(options.memory, options.slice),
            memory: Memory::new(&options, secret, on_eviction),
            fills: Fills::default(),
            flights: Mutex::default(),
            contents: ContentIds::new(identity.epoch),
            floors,
            lease: purge_log.lease(),
            purge_log,
            purge_journal,
            successor: Successor::default(),
            invalidated: broadcast::Sender::new(LATE_INVALIDATIONS),
            is_distrusted: AtomicBool::new(false),
            pins: Pins::new(hold::pinned_share(options.memory)),
            copies: Arc::new(Ledger::new(hold::copied_share(options.memory))),
            disk,
            recalls: Recalls::default(),
            renewals,
            key_locks: [const { Mutex::new(()) }; KEY_LOCKS],
        }
    }

    /// The store's options.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The arena that holds the bytes of large slices.
    #[must_use]
    pub const fn pages(&self) -> &MemfdArena {
        &self.pages
    }

    /// Looks up the response stored under `key`, unless it was purged.
    #[must_use]
    pub fn lookup(&self, key: &CacheKey, now: Timestamp) -> Lookup {
        match self.memory.get(key, now) {
            Some(Stored::Response(response)) => self.select(key, response),
            Some(Stored::Note(note)) => match self.noted(&note, key, now) {
                Lookup::Nothing => {
                    self.memory.remove(key);
                    Lookup::Nothing
                }
                note => note,
            },
            None => Lookup::Nothing,
        }
    }

    /// The outcome of a lookup, in memory and on disk, without changing what is stored.
    pub async fn peek(&self, key: &CacheKey, now: Timestamp) -> Peeked {
        let in_memory = self.memory.current(key);
        let is_only_on_disk = in_memory.is_none();
        let stored = match in_memory {
            Some(stored) => Some(stored),
            None => self.read_from_disk(key).await.map(|(stored, _)| stored),
        };
        let (lookup, purged) = match stored {
            Some(Stored::Response(response)) => {
                let mark = self.floors.mark();
                match self.floors.remains(&key.resource(), &response.tags, response.mark) {
                    PurgeVerdict::All => (Lookup::Response(response), None),
                    PurgeVerdict::Stale => {
                        let stale = Arc::new(response.expired(mark));
                        (Lookup::Response(stale), Some(PurgeMode::Soft))
                    }
                    PurgeVerdict::Nothing => (Lookup::Nothing, Some(PurgeMode::Hard)),
                }
            }
            Some(Stored::Note(note)) => (self.noted(&note, key, now), None),
            None => (Lookup::Nothing, None),
        };
        Peeked { lookup, purged, is_only_on_disk }
    }

    /// Claims the fetch of `key` after a lookup that found `seen`.
    ///
    /// `is_head` is whether only the head will be fetched. Looks up again under the lock: a fetch that has
    /// ended since is found, not repeated.
    pub fn claim(
        self: &Arc<Self>,
        key: &CacheKey,
        seen: Option<&Arc<StoredResponse>>,
        is_head: bool,
        now: Timestamp,
    ) -> FetchLock {
        // Read first: purges from here on are newer than this fetch.
        let mark = self.floors.mark();
        let mut flights = self.flights.lock();
        match (self.lookup(key, now), seen) {
            (Lookup::Response(found), Some(seen)) if found.serial == seen.serial => {}
            (Lookup::Nothing, None) => {}
            // It was purged or evicted since the lookup, or replaced: `seen` must not be renewed.
            (found, _) => return FetchLock::Lookup(found),
        }
        let flight = Arc::new(InFlight::new(mark, is_head));
        let digest = self.memory.digest_of(key);
        match flights.entry(digest) {
            Entry::Occupied(under_way)
                if self.survives(key, under_way.get().mark) && self.may_reuse() =>
            {
                return FetchLock::Wait(under_way.get().waiter());
            }
            // A fetch that started before a purge must not serve a request that arrived after it.
            Entry::Occupied(mut overtaken) => {
                overtaken.insert(Arc::clone(&flight));
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Arc::clone(&flight));
            }
        }
        drop(flights);
        if seen.is_none()
            && let Some(evicted) = self.memory.evicted().forget(digest)
            && now < evicted.fresh_until
            && self.survives(key, evicted.mark)
        {
            self.memory.evicted().count_miss();
        }
        FetchLock::Lead(Obligation::new(Arc::clone(self), key.clone(), digest, flight))
    }

    /// Registers the origin response that contains `slices` of `content`, and returns the task that stores
    /// them. Readers can attach as soon as this returns.
    pub fn fill(
        self: &Arc<Self>,
        content: &Arc<Content>,
        slices: std::ops::Range<u32>,
        body: Body,
    ) -> impl Future<Output = Result<(), FetchError>> + Send + use<> {
        let run = Fill::new(slices);
        self.fills.of(content.id).push(Arc::clone(&run));
        let filling = FillTask::new(run, Arc::clone(content), Arc::clone(self));
        async move { filling.fill(Ok(body)).await }
    }

    /// A new content of `length` bytes, none of which has arrived.
    #[must_use]
    pub fn new_content(&self, length: u64) -> Content {
        Content::new(self.contents.next(), length)
    }

    /// A new content with these bytes.
    #[must_use]
    pub fn complete_content(&self, bytes: Bytes) -> Content {
        Content::complete(self.contents.next(), bytes)
    }

    /// Counters of the memory tier.
    #[must_use]
    pub fn usage(&self) -> MemoryUse {
        self.memory.usage()
    }

    /// How `content` is cut into slices.
    #[must_use]
    pub fn layout(&self, content: &Content) -> Layout {
        content.layout(self.options.slice)
    }

    /// Removes the response stored under `key` unless it has other content by now.
    fn forget(&self, key: &CacheKey, content: &Content) {
        match self.memory.current(key) {
            Some(Stored::Response(response)) if response.content.id == content.id => {
                self.discard(key);
            }
            // It was evicted; the disk may have it.
            None => self.discard(key),
            Some(_) => {}
        }
    }

    fn is_current(&self, digest: Digest, flight: &Arc<InFlight>) -> bool {
        let flights = self.flights.lock();
        flights.get(&digest).is_some_and(|current| Arc::ptr_eq(current, flight))
    }

    fn retire(&self, digest: Digest, flight: &Arc<InFlight>) {
        let mut flights = self.flights.lock();
        if let Entry::Occupied(current) = flights.entry(digest)
            && Arc::ptr_eq(current.get(), flight)
        {
            current.remove();
        }
    }
}
