//! What the writer, the readers and the recovery share.

use std::{io, sync::Arc};

use parking_lot::Mutex;

use super::{
    Located,
    counters::Counters,
    files::Files,
    index::{Index, Operation},
    options::DiskOptions,
    queue::{Command, Queue},
    record::Record,
    segment::{self, Entry, Segment, Tier},
    segments::Segments,
    superblock::SUPERBLOCK,
};
use crate::{base::clock::Clock, cache::digest::Digest};

pub(super) struct Shared {
    pub(super) options: DiskOptions,
    pub(super) tier: Tier,
    pub(super) files: Arc<dyn Files>,
    pub(super) index: Index,
    pub(super) segments: Segments,
    pub(super) queue: Queue,
    /// Held while an operation begins and is queued: operations on a digest reach the log in the order in which
    /// they began.
    pub(super) order: Mutex<()>,
    pub(super) counters: Counters,
    pub(super) clock: Clock,
}

impl Shared {
    /// Writes a record in place of an older one of its digest. If the queue is full, the record is not written, and
    /// the older one is forgotten.
    pub(super) fn write(&self, record: Record) {
        if self.counters.is_off() {
            return;
        }
        let digest = record.digest;
        let _order = self.order.lock();
        let (operation, replaces) = self.index.begin(digest);
        if !self.queue.offer(Command::Write { record, operation, replaces }) {
            self.counters.dropped.inc();
            self.end_without(digest, operation, replaces);
        }
    }

    /// Forgets the record of a digest, now and after a restart.
    pub(super) fn forget(&self, digest: Digest) {
        if self.counters.is_off() {
            return;
        }
        let _order = self.order.lock();
        let (operation, replaces) = self.index.begin(digest);
        self.end_without(digest, operation, replaces);
    }

    /// Whether a record is still the current one of this digest.
    pub(super) fn is_current(&self, digest: Digest, Located { place, segment }: Located) -> bool {
        self.index.get(digest).is_some_and(|current| current.is_at(place))
            && self.segments.get(place.slot()).is_some_and(|found| found.sequence == segment)
    }

    /// Ends an operation that leaves no record. If it replaces one, that is forgotten in the log, too.
    fn end_without(&self, digest: Digest, operation: Operation, replaces: bool) {
        if replaces && self.queue.add(Command::Forget { digest, operation }) {
            return;
        }
        self.index.finish(digest, operation, None);
        if replaces && !self.queue.is_closed() && self.cannot_forget() {
            self.abandon_later();
        }
    }

    /// Seals a segment, which takes no more space than its records from then on.
    pub(super) fn seal(&self, segment: &Segment, end: u64, entries: &[Entry]) -> io::Result<()> {
        let length = segment.seal(end, entries)?;
        self.segments.shorten(segment, length);
        Ok(())
    }

    /// Removes a segment and its file.
    pub(super) fn remove(&self, segment: &Segment) -> io::Result<()> {
        if !self.segments.remove(segment) {
            return Ok(());
        }
        match self.files.remove(&segment::name(segment.sequence)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes a segment and its file. If that fails, its records could return once newer segments, which say that
    /// they are no longer valid, are gone.
    pub(super) fn remove_or_abandon(&self, segment: &Segment) {
        if let Err(error) = self.remove(segment) {
            self.failed("remove a segment", &error);
            if self.cannot_forget() {
                self.abandon();
            }
        }
    }

    /// Counts a failed read or write. After too many the disk is no longer used. Blocks.
    pub(super) fn failed(&self, what: &str, error: &io::Error) {
        if self.counters.failed(what, error) {
            self.abandon();
        }
    }

    /// No longer uses the disk, because the log cannot say that a record has become invalid. True if it was in use:
    /// then it must be abandoned.
    #[must_use]
    pub(super) fn cannot_forget(&self) -> bool {
        self.counters.turn_off("it cannot write which records are no longer valid")
    }

    /// Makes the next start empty: what is replaced or forgotten from now on is not written. Blocks.
    pub(super) fn abandon(&self) {
        abandon(&*self.files);
    }

    /// The same on a thread of its own: the disk may hang, and serving threads must not wait for it.
    pub(super) fn abandon_later(&self) {
        let files = Arc::clone(&self.files);
        let spawned = std::thread::Builder::new()
            .name("forebay-abandon".into())
            .spawn(move || abandon(&*files));
        if let Err(error) = spawned {
            not_abandoned(&error);
        }
    }
}

/// Removes the identity. Without it, the next start is empty.
fn abandon(files: &dyn Files) {
    match files.remove(SUPERBLOCK).and_then(|()| files.sync()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => not_abandoned(&error),
        _ => {}
    }
}

fn not_abandoned(error: &io::Error) {
    tracing::error!(
        %error,
        "the disk cache cannot be marked as unusable; run `forebay cache clear` before the next start, or it may serve versions that were replaced"
    );
}
