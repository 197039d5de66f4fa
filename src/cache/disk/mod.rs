//! The disk cache: a log of records in segments, and an index of it in memory.
//!
//! Records are written once, in order, and the oldest segment is removed when space is needed. Every read is
//! verified. Segments are never synchronized: after a crash, records that did not reach the disk fail their checksums
//! and are misses.

mod admission;
mod aligned;
mod checksum;
mod counters;
mod eviction;
mod files;
mod folder;
#[cfg(feature = "fuzz")]
mod fuzzing;
mod index;
mod inspect;
mod kept;
mod keys;
mod layout;
mod open_segment;
mod options;
mod outcome;
mod place;
mod protection;
mod queue;
mod read_buffer;
mod readers;
mod record;
mod recovery;
mod replace;
mod segment;
mod segments;
mod shared;
#[cfg(test)]
mod simulated;
mod speed;
mod superblock;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    io,
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

pub(crate) use checksum::checksum;
use counters::Counters;
pub(crate) use files::{Files, SystemFiles};
pub(crate) use folder::{
    Examined, Folder, denied, examine, existing, identity_of, purge_log, with_space,
};
pub use folder::{FolderError, clear};
#[cfg(feature = "fuzz")]
pub(crate) use fuzzing::read_segment;
use index::Index;
pub use inspect::{InspectError, Inspection, count, verify};
pub use keys::EncryptionKeys;
pub(crate) use keys::KeyNote;
pub(crate) use layout::{FORMAT, Fields};
pub use options::DiskOptions;
pub(crate) use place::Place;
pub(crate) use protection::{PROOF, Proof, Protection};
use queue::{Command, Queue};
use readers::Readers;
pub(crate) use record::{Kind, Loaded, Record};
pub(crate) use recovery::OnInvalidation;
pub(crate) use replace::replace;
use segment::ReadError;
use segments::Segments;
use shared::Shared;
pub use speed::DiskSpeed;
pub(crate) use superblock::Identity;
use writer::Writer;

use crate::{
    base::{
        clock::{Clock, Timestamp},
        metrics::DiskMetrics,
    },
    cache::digest::Digest,
};

/// Timeout of a read. After it, the request goes to the origin.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

/// An open disk cache.
pub(crate) struct Disk {
    shared: Arc<Shared>,
    readers: Readers,
    /// The threads that write to the folder, and its lock; `None` once it is closed.
    open: Mutex<Option<(Vec<JoinHandle<()>>, Folder)>>,
    /// Lets the writer continue after a pause.
    paused: Mutex<Option<oneshot::Sender<u64>>>,
}

/// Whether a record of this kind, key and description is still valid, so that it may be written again.
pub(crate) type IsLive = Box<dyn Fn(Kind, &[u8], &[u8]) -> bool + Send>;

/// A record that was current at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    place: Place,
    /// The number of its segment: another may have the same place by now.
    segment: u64,
}

/// The state of the disk cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes of its files.
    pub bytes: u64,
    /// Records that can be read.
    pub entries: u64,
    /// Files of the last process whose records cannot be found yet.
    pub to_recover: u64,
    /// Whether it is in use: not after too many failures.
    pub is_in_use: bool,
    /// Bytes of records that wait to be written.
    pub waiting: u64,
    /// The limit for its files in bytes.
    pub capacity: u64,
    /// The most bytes that may be written in a day, if there is a limit.
    pub write_budget: Option<u64>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens the disk cache in a folder, and begins to read its index.
    ///
    /// # Errors
    /// If the files cannot be listed, or the system has no more threads.
    pub(crate) fn open(
        folder: Folder,
        files: Arc<dyn Files>,
        options: DiskOptions,
        clock: Clock,
        metrics: DiskMetrics,
        on_invalidation: OnInvalidation,
        is_live: IsLive,
    ) -> io::Result<Arc<Self>> {
        let queue = Queue::new(options.queue);
        let shared = Arc::new(Shared {
            options,
            tier: folder.tier(),
            files,
            index: Index::new(),
            segments: Segments::default(),
            queue,
            order: Mutex::default(),
            counters: Counters::new(metrics),
            clock,
        });
        let next = recovery::open_segments(&shared)?;
        let slots = shared.segments.newest_first();
        if slots.is_empty() {
            shared.index.recovered();
        }
        tracing::info!(
            directory = %shared.options.path.display(),
            capacity = shared.options.capacity,
            files = slots.len(),
            bytes = shared.segments.bytes(),
            encrypted = shared.tier.keys.encrypt(),
            "disk cache opened"
        );
        let recovered = Arc::clone(&shared);
        let recovery = Builder::new()
            .name("forebay-recover".into())
            .spawn(move || recovery::recover(&recovered, &slots, next, &on_invalidation))?;
        let writer = Writer::new(Arc::clone(&shared), next, is_live);
        let writer = Builder::new().name("forebay-write".into()).spawn(move || writer.run())?;
        let open = Mutex::new(Some((vec![writer, recovery], folder)));
        Ok(Arc::new(Self { shared, readers: Readers::start()?, open, paused: Mutex::default() }))
    }

    /// Whether there is a record of this digest.
    pub(crate) fn has(&self, digest: Digest) -> bool {
        self.shared.index.get(digest).is_some() && !self.shared.counters.is_off()
    }

    /// The place of the record of this digest.
    pub(crate) fn place(&self, digest: Digest) -> Option<Place> {
        self.shared.index.get(digest)
    }

    /// The current record of this digest.
    pub(crate) fn located(&self, digest: Digest) -> Option<Located> {
        let place = self.place(digest).filter(|_| !self.shared.counters.is_off())?;
        let segment = self.shared.segments.get(place.slot())?.sequence;
        Some(Located { place, segment })
    }

    /// Reads the record of a digest, if it has this key. Every byte is verified.
    pub(crate) async fn read(&self, digest: Digest, key: &[u8]) -> Option<(Loaded, Located)> {
        let Shared { index, segments, counters, .. } = &*self.shared;
        if counters.is_off() {
            return None;
        }
        let place = index.locate(digest)?;
        let Some(segment) = segments.get(place.slot()) else {
            // Its segment was evicted, and could not be read to find out what goes with it.
            index.remove(digest, place);
            return None;
        };
        let located = Located { place, segment: segment.sequence };
        let read = match self.readers.read(segment, place) {
            Some(reading) => tokio::time::timeout(READ_TIMEOUT, reading).await,
            None => {
                counters.late_reads.inc();
                return None;
            }
        };
        match read {
            Ok(Ok(Ok(loaded))) if loaded.digest == digest && loaded.key == key => {
                counters.reads.inc();
                Some((loaded, located))
            }
            // The place has a record of another key by now, or another key has this digest.
            Ok(Ok(Ok(_))) => {
                index.remove(digest, place);
                None
            }
            Ok(Ok(Err(ReadError::System(error)))) => {
                if counters.failed("read", &error) {
                    self.shared.abandon_later();
                }
                self.forget_at(digest, located);
                None
            }
            Ok(Ok(Err(ReadError::Invalid(why)))) => {
                // If it is no longer current, its segment was evicted meanwhile.
                if self.forget_at(digest, located) {
                    counters.corrupt.inc();
                    let file = segment::name(located.segment);
                    tracing::warn!(%why, file, "a record of the disk cache is damaged; the object will be fetched again");
                }
                None
            }
            Ok(Err(_)) | Err(_) => {
                counters.late_reads.inc();
                None
            }
        }
    }

    /// Forgets a record that cannot be read, so that a restart does not find an older one instead.
    fn forget_at(&self, digest: Digest, record: Located) -> bool {
        let is_current = self.is_current(digest, record);
        if is_current {
            self.shared.forget(digest);
        }
        is_current
    }

    /// Whether a record is still the current one of this digest.
    pub(crate) fn is_current(&self, digest: Digest, record: Located) -> bool {
        self.shared.is_current(digest, record)
    }

    /// Writes a record in place of an older one of its digest. Never waits: if the disk is too slow, the record is
    /// not written, and the older one is forgotten.
    pub(crate) fn write(&self, record: Record) {
        self.shared.write(record);
    }

    /// Writes a newer form of `older`, if that is still current when its turn comes, and if there is room and the budget
    /// allows it. False if the queue has no room. Whatever is not written leaves the older form as it is.
    pub(crate) fn renew(&self, record: Record, older: Located) -> bool {
        let Shared { counters, queue, .. } = &*self.shared;
        counters.is_off() || queue.is_closed() || queue.offer(Command::Renew { record, older })
    }

    /// The time, by the clock of the cache.
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Forgets the record of a digest, now and after a restart.
    pub(crate) fn forget(&self, digest: Digest) {
        self.shared.forget(digest);
    }

    /// Writes a record that is not in the index, if there is room for it.
    pub(crate) fn note(&self, record: Record) {
        self.shared.queue.offer(Command::Note(record));
    }

    /// Removes the oldest file, because something else needs its space. False if there is none.
    pub(crate) async fn make_space(&self) -> bool {
        let (done, made) = oneshot::channel();
        self.shared.queue.add(Command::MakeSpace(done)) && made.await.unwrap_or(false)
    }

    /// Waits until everything so far is written.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.shared.queue.add(Command::Flush(done)) {
            // If the writer has ended, nothing is waiting.
            let _ = flushed.await;
        }
    }

    /// Writes what is waiting, and leaves the folder to another process. What comes later waits. Blocks until that is
    /// done.
    pub(crate) fn pause(&self) {
        let (done, written) = oneshot::channel();
        let (resume, next) = oneshot::channel();
        *self.paused.lock() = Some(resume);
        if self.shared.queue.add(Command::Pause(done, next)) {
            // A writer that has ended has nothing more to write.
            let _ = written.blocking_recv();
        }
        if let Some((threads, folder)) = &mut *self.open.lock() {
            // The thread that recovers the index of the last process also writes.
            for recovery in threads.drain(1..) {
                let _ = recovery.join();
            }
            folder.unlock();
        }
    }

    /// Writes again what came during a pause, and later.
    ///
    /// # Errors
    /// If another process has the folder. Nothing more is written then.
    pub(crate) fn resume(&self) -> Result<(), FolderError> {
        let resume = self.paused.lock().take();
        if let (Some((_, folder)), Some(resume)) = (&mut *self.open.lock(), resume) {
            let next = folder.lock_again().inspect_err(|_| {
                self.shared.queue.close();
                self.shared.queue.discard();
            })?;
            // A writer that has ended has nothing more to write.
            let _ = resume.send(next);
        }
        Ok(())
    }

    /// Leaves the folder to the process that has it since a pause. What came since then is not written, and nothing is
    /// read any more: files that the other process removes must not take space.
    pub(crate) fn leave(&self) {
        self.shared.queue.close();
        self.shared.queue.discard();
        self.shared.segments.clear();
        *self.paused.lock() = None;
        self.close();
    }

    /// Writes what is waiting, and leaves the folder to the next process. Blocks until that is done.
    pub(crate) fn close(&self) {
        // If another process has the folder, nothing is written.
        let _ = self.resume();
        self.shared.queue.close();
        if let Some((threads, folder)) = self.open.lock().take() {
            for thread in threads {
                // A thread that panicked has nothing more to write.
                let _ = thread.join();
            }
            drop(folder);
        }
    }

    /// The state of the cache. Updates its gauges.
    pub(crate) fn usage(&self) -> DiskUse {
        let Shared { segments, index, counters, queue, options, .. } = &*self.shared;
        let (bytes, entries) = (segments.bytes(), index.len());
        counters.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        counters.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        let to_recover = u64::try_from(counters.to_recover.get()).unwrap_or(0);
        let is_in_use = !counters.is_off();
        let (waiting, capacity) = (queue.bytes(), options.capacity);
        let write_budget = options.write_budget;
        DiskUse { bytes, entries, to_recover, is_in_use, waiting, capacity, write_budget }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}
