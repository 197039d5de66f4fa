//! The writer: one thread that appends records to the newest segment and evicts the oldest ones.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    IsLive, Located,
    admission::Admission,
    aligned::AlignedBuffer,
    eviction::evict,
    index::Operation,
    kept::Kept,
    layout::BLOCK,
    open_segment::OpenSegment,
    outcome::Outcome,
    queue::Command,
    record::{Kind, Record},
    segment::{Entry, Segment, sealing},
    shared::Shared,
};
use crate::{base::clock::Stopwatch, cache::digest::Digest};

/// Bytes that are collected before they are written.
const FLUSH: usize = 1 << 20;

/// How long records wait for others.
const WAIT: Duration = Duration::from_secs(1);

/// Segments that are evicted to make room for one if the disk is full. If that is not enough, others take the space,
/// and nothing more is evicted for some time.
const MAX_EVICTED: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

const FULL: &str = "the disk is full; the disk cache keeps the size that it has now";

pub(super) struct Writer {
    shared: Arc<Shared>,
    open: Option<OpenSegment>,
    /// The number of the next segment.
    sequence: u64,
    buffer: AlignedBuffer,
    /// The records in the buffer.
    buffered: Vec<(Entry, Outcome)>,
    /// Since the first record in the buffer arrived.
    since: Option<Stopwatch>,
    admission: Admission,
    /// Since evictions did not help against a full disk.
    full_since: Option<Stopwatch>,
    /// Bytes that the segments may take: less than the capacity if the disk was full.
    capacity: u64,
    is_live: IsLive,
}

impl Writer {
    /// A writer whose first segment has the number `sequence`.
    pub(super) fn new(shared: Arc<Shared>, sequence: u64, is_live: IsLive) -> Self {
        let admission = Admission::new(shared.options.write_budget, shared.clock.now());
        let capacity = shared.options.capacity;
        let buffer = AlignedBuffer::new(2 * FLUSH);
        Self {
            shared,
            open: None,
            sequence,
            buffer,
            buffered: Vec::new(),
            since: None,
            admission,
            full_since: None,
            capacity,
            is_live,
        }
    }

    /// Writes until the queue is closed and empty, then seals the segment.
    pub(super) fn run(mut self) {
        loop {
            let patience = self.since.map(|since| WAIT.saturating_sub(since.elapsed()));
            match self.shared.queue.next(patience) {
                Ok(command) => self.execute(command),
                Err(false) => self.flush(),
                Err(true) => break,
            }
            if self.since.is_some_and(|since| since.elapsed() >= WAIT) {
                self.flush();
            }
        }
        self.flush_all();
        self.seal();
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Write { record, operation, replaces } => {
                let digest = record.digest;
                if self.admits(&record) && self.append(&record, Outcome::Written(operation)) {
                    return;
                }
                self.shared.counters.not_admitted.inc();
                if replaces {
                    self.forget(digest, operation);
                } else {
                    self.shared.index.finish(digest, operation, None);
                }
            }
            Command::Forget { digest, operation } => self.forget(digest, operation),
            Command::Renew { record, older } => self.renew(&record, older),
            Command::Note(record) => {
                self.append(&record, Outcome::Noted);
            }
            Command::MakeSpace(done) => {
                // The caller may have been canceled.
                let _ = done.send(self.make_space());
            }
            Command::Flush(done) => {
                self.flush_all();
                // The caller may have been canceled.
                let _ = done.send(());
            }
            Command::Pause(done, next) => self.pause(done, next),
        }
    }

    /// Writes everything, then leaves the directory to another process until there is a next segment for this one.
    fn pause(&mut self, done: oneshot::Sender<()>, next: oneshot::Receiver<u64>) {
        self.flush_all();
        self.seal();
        if done.send(()).is_ok()
            && let Ok(next) = next.blocking_recv()
        {
            self.sequence = self.sequence.max(next);
        }
    }

    /// Removes the oldest segment, because something else needs its space. The cache keeps the size that it has then.
    fn make_space(&mut self) -> bool {
        let Some(oldest) = self.shared.segments.oldest() else { return false };
        if self.open.as_ref().is_some_and(|open| open.segment.sequence == oldest.sequence) {
            self.flush_all();
            self.seal();
        }
        evict(&self.shared, &self.is_live, &oldest, &mut Kept::none());
        self.capacity = self.shared.segments.bytes();
        if self.capacity < self.shared.options.segment {
            // Without a file left, none is created before the space is used.
            self.full_since = Some(Stopwatch::start());
        }
        tracing::warn!(bytes = self.capacity, "{FULL}");
        true
    }

    /// Writes a newer form of a record that is still current and valid, if there is room and the budget allows it.
    /// Otherwise the older form remains.
    fn renew(&mut self, record: &Record, older: Located) {
        let digest = record.digest;
        // An invalidation that comes after this is after it in the log, too.
        let is_live = self.shared.is_current(digest, older)
            && (self.is_live)(record.kind, &record.key, &record.description);
        if !is_live || !record.fits() || !self.make_room(record.length()) || !self.affords(record) {
            return;
        }
        // Making room may have evicted it.
        if let Some(operation) = self.shared.index.begin_move(digest, older.place)
            && !self.append(record, Outcome::Written(operation))
        {
            self.forget(digest, operation);
        }
    }

    fn forget(&mut self, digest: Digest, operation: Operation) {
        if !self.append_forget(digest, Outcome::Forgotten(operation)) {
            self.shared.index.finish(digest, operation, None);
        }
    }

    /// Writes that older records of a digest are no longer valid. On a full disk, files give way for that.
    fn append_forget(&mut self, digest: Digest, outcome: Outcome) -> bool {
        let record = Record::forget(digest);
        let is_written = self.append(&record, outcome) || {
            self.full_since = None;
            self.append(&record, outcome)
        };
        // Without files, there are no older records.
        if !is_written && self.shared.segments.len() > 0 && self.shared.cannot_forget() {
            self.shared.abandon();
        }
        is_written
    }

    /// Whether to write a record: everything, while no other must give way for it.
    fn admits(&mut self, record: &Record) -> bool {
        let Shared { index, clock, .. } = &*self.shared;
        self.has_space()
            || self.admission.admits(record.digest, record.length(), index.len(), clock.now())
    }

    /// Whether the budget allows writing a record in place of one that was admitted.
    fn affords(&mut self, record: &Record) -> bool {
        self.has_space() || self.admission.affords(record.length(), self.shared.clock.now())
    }

    /// Whether no record must give way for another.
    fn has_space(&self) -> bool {
        let Shared { segments, options, .. } = &*self.shared;
        // Files that were cut short take little space, but each is open.
        segments.bytes() + options.segment <= self.capacity
            && (segments.len() as u64) < options.files()
    }

    /// Appends a record to the buffer. False if it cannot be written.
    fn append(&mut self, record: &Record, outcome: Outcome) -> bool {
        let length = record.length();
        if self.shared.counters.is_off() || !record.fits() || !self.make_room(length) {
            return false;
        }
        let Some(open) = &mut self.open else { return false };
        let offset = open.end + self.buffer.len() as u64;
        let Segment { sequence, protection, .. } = &*open.segment;
        if !record.append_to(&mut self.buffer, *sequence, offset, protection) {
            return false;
        }
        let entry = Entry { digest: record.digest, kind: record.kind, offset, length };
        open.entries.push(entry);
        self.buffered.push((entry, outcome));
        self.since.get_or_insert_with(Stopwatch::start);
        if self.buffer.len() >= FLUSH {
            self.flush();
        }
        true
    }

    /// Makes sure that the open segment has room for a record of `length` bytes.
    fn make_room(&mut self, length: usize) -> bool {
        if BLOCK as u64 + length as u64 + 2 * sealing(1) > self.shared.options.segment {
            return false;
        }
        let fits = |writer: &Self| {
            writer.open.as_ref().is_some_and(|open| open.has_room(writer.buffer.len() + length))
        };
        if !fits(self) {
            // After a failure, that leaves another segment open.
            self.flush_all();
        }
        if !fits(self) {
            self.seal();
            // A full disk is not a faulty one.
            if let Err(error) = self.open_next()
                && error.kind() != io::ErrorKind::StorageFull
            {
                self.shared.failed("create a segment", &error);
            }
        }
        fits(self)
    }

    /// Writes the buffer, and after a failure the records that replace it.
    fn flush_all(&mut self) {
        while !self.buffered.is_empty() {
            self.flush();
        }
    }

    /// Writes the buffer.
    fn flush(&mut self) {
        self.since = None;
        let Some(open) = &mut self.open else { return };
        if self.buffered.is_empty() {
            return;
        }
        self.buffer.pad(BLOCK);
        let written = open.segment.file.write_at(self.buffer.bytes(), open.end);
        let slot = open.segment.slot;
        let length = self.buffer.len() as u64;
        open.end += length;
        self.buffer.clear();
        if self.buffer.room() > 4 * FLUSH {
            // An exceptionally long record was in it.
            self.buffer = AlignedBuffer::new(2 * FLUSH);
        }
        let is_written = written.is_ok();
        if let Err(error) = written {
            // What reached the disk is unknown, so nothing more is written to this segment.
            let failed = self.buffered.len();
            open.entries.truncate(open.entries.len() - failed);
            self.shared.failed("write", &error);
            self.seal();
        }
        let counters = &self.shared.counters;
        counters.written_bytes.inc_by(u64::from(is_written) * length);
        let buffered = std::mem::take(&mut self.buffered);
        if !is_written {
            // Older records of these digests must not be found after a restart.
            for (entry, _) in buffered.iter().filter(|(entry, _)| entry.kind != Kind::Invalidation)
            {
                self.append_forget(entry.digest, Outcome::Noted);
            }
        }
        let index = &self.shared.index;
        for (entry, outcome) in buffered {
            let place = entry.place(slot).filter(|_| is_written);
            match (outcome, place) {
                (Outcome::Written(operation), place) => {
                    index.finish(entry.digest, operation, place);
                }
                (Outcome::Forgotten(operation), _) => index.finish(entry.digest, operation, None),
                (Outcome::Noted, _) => {}
            }
        }
    }

    /// Ends the open segment. The buffer is empty.
    fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        if let Err(error) = self.shared.seal(&open.segment, open.end, &open.entries) {
            // It is read like a segment of a process that was killed.
            self.shared.failed("seal a segment", &error);
        }
    }

    /// Opens the next segment, after old ones have given way.
    fn open_next(&mut self) -> io::Result<()> {
        let mut kept = Kept::new(self.shared.options.segment);
        let opened = self.open_segment(&mut kept);
        for (record, operation) in kept.records {
            if opened.is_err() || !self.append(&record, Outcome::Written(operation)) {
                self.shared.index.finish(record.digest, operation, None);
            }
        }
        opened
    }

    fn open_segment(&mut self, kept: &mut Kept) -> io::Result<()> {
        let length = self.shared.options.segment;
        while !self.has_space() {
            let Some(oldest) = self.shared.segments.oldest() else { break };
            evict(&self.shared, &self.is_live, &oldest, kept);
        }
        if self.capacity < length && self.waits() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut evicted = 0;
        let created = loop {
            match self.create(length) {
                // The disk is full: carry on with fewer segments.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    let waits = self.waits();
                    let oldest = self.shared.segments.oldest().filter(|_| !waits);
                    let Some(oldest) = oldest.filter(|_| evicted < MAX_EVICTED) else {
                        if !waits {
                            self.full_since = Some(Stopwatch::start());
                        }
                        return Err(error);
                    };
                    self.full_since = None;
                    evicted += 1;
                    self.capacity = self.shared.segments.bytes();
                    tracing::warn!(bytes = self.capacity, "{FULL}");
                    evict(&self.shared, &self.is_live, &oldest, kept);
                }
                created => break created?,
            }
        };
        self.full_since = None;
        let segment = Arc::new(created);
        self.shared.segments.add(Arc::clone(&segment));
        self.open = Some(OpenSegment::new(segment));
        Ok(())
    }

    /// Whether the disk was full a short time ago.
    fn waits(&self) -> bool {
        self.full_since.is_some_and(|since| since.elapsed() < PATIENCE)
    }

    fn create(&mut self, length: u64) -> io::Result<Segment> {
        let Shared { files, tier, segments, .. } = &*self.shared;
        let slot = segments.free_slot().ok_or_else(|| io::Error::other("too many segments"))?;
        let sequence = self.sequence;
        self.sequence += 1;
        Segment::create(&**files, tier, slot, sequence, length)
    }
}
