//! What the writer, the readers and the recovery share.

use std::{io, sync::Arc};

use parking_lot::Mutex;

use super::{
    counters::Counters,
    files::Files,
    index::{Index, Operation},
    options::DiskOptions,
    queue::{Command, Queue},
    record::Record,
    segment::{self, Segment, Tier},
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
        let digest = record.digest;
        let _order = self.order.lock();
        let (operation, replaces) = self.index.begin(digest);
        if self.counters.is_off() {
            return self.index.finish(digest, operation, None);
        }
        if !self.queue.offer(Command::Write { record, operation, replaces }) {
            self.counters.dropped.inc();
            self.end_without(digest, operation, replaces);
        }
    }

    /// Forgets the record of a digest, now and after a restart.
    pub(super) fn forget(&self, digest: Digest) {
        let _order = self.order.lock();
        let (operation, replaces) = self.index.begin(digest);
        self.end_without(digest, operation, replaces);
    }

    /// Ends an operation that leaves no record. If it replaces one, that is forgotten in the log, too.
    fn end_without(&self, digest: Digest, operation: Operation, replaces: bool) {
        if !(replaces && self.add(Command::Forget { digest, operation })) {
            self.index.finish(digest, operation, None);
        }
    }

    fn add(&self, command: Command) -> bool {
        let is_added = self.queue.add(command);
        if !is_added && !self.queue.is_closed() {
            self.cannot_forget();
        }
        is_added
    }

    /// Removes a segment and its file.
    pub(super) fn remove(&self, segment: &Segment) -> io::Result<()> {
        if self.segments.remove(segment) {
            self.files.remove(&segment::name(segment.sequence))?;
        }
        Ok(())
    }

    /// Counts a failed read or write. After too many the disk is no longer used.
    pub(super) fn failed(&self, what: &str, error: &io::Error) {
        if self.counters.failed(what, error) {
            self.abandon();
        }
    }

    /// No longer uses the disk, because the log cannot say that a record has become invalid.
    pub(super) fn cannot_forget(&self) {
        if self.counters.turn_off("it cannot write which records are no longer valid") {
            self.abandon();
        }
    }

    /// Makes the next start empty: what is replaced or forgotten from now on is not written.
    fn abandon(&self) {
        let _ = self.files.remove(SUPERBLOCK);
    }
}
