//! Which extents of the memory file are free.

use parking_lot::{Condvar, Mutex};
use rustix::{
    fd::OwnedFd,
    fs::{FallocateFlags, fallocate},
};

use super::LEAST;

/// Length of the short extents, in bytes. Many pieces of content are images that are not longer. They share large pages if
/// the system has them for memory files, so such systems do not use this file.
const SHORT: usize = 64 << 10;

/// Long extents are aligned to the largest pages: part of a page cannot be freed.
const ALIGNMENT: usize = 2 << 20;

/// Address space that the file may take. Only stored content takes memory.
const MAX_LENGTH: usize = 16 << 40;

/// The part of the capacity that dropped content may still take until the thread frees it.
const DROPPED: usize = 32;

/// The two parts of the file: short extents, then long ones.
#[derive(Debug)]
pub(super) struct Parts {
    /// The end of the short extents, and the start of the long ones.
    middle: usize,
    end: usize,
    /// Length of a long extent in bytes.
    long: usize,
}

impl Parts {
    /// Parts with enough extents for `capacity` bytes in pieces of at most `piece` bytes.
    pub(super) fn new(capacity: usize, piece: usize) -> Self {
        let long = piece.next_multiple_of(ALIGNMENT);
        let middle = (capacity / LEAST + 1).saturating_mul(SHORT).next_multiple_of(ALIGNMENT);
        let middle = middle.min(MAX_LENGTH / 2);
        let end = (capacity / SHORT + 1).saturating_mul(long).saturating_add(middle);
        Self { middle, end: end.min(MAX_LENGTH), long }
    }

    /// The length of the file.
    pub(super) const fn length(&self) -> usize {
        self.end
    }

    /// The length of the extent at `start`.
    const fn extent(&self, start: usize) -> usize {
        if start < self.middle { SHORT } else { self.long }
    }
}

/// The free extents of one part.
#[derive(Debug, Default)]
struct Free {
    returned: Vec<usize>,
    /// Extents from this offset on were never used.
    fresh: usize,
}

impl Free {
    /// Takes an extent, if there is one before `end`.
    fn take(&mut self, extent: usize, end: usize) -> Option<usize> {
        if let Some(start) = self.returned.pop() {
            return Some(start);
        }
        let start = self.fresh;
        (start + extent <= end).then(|| {
            self.fresh += extent;
            start
        })
    }
}

#[derive(Debug, Default)]
struct State {
    short: Free,
    long: Free,
    /// Extents that are not emptied yet, each with the bytes of its content.
    dropped: Vec<(usize, usize)>,
    dropped_bytes: usize,
    is_closed: bool,
}

/// The extents of the file.
#[derive(Debug)]
pub(super) struct Extents {
    pub(super) file: OwnedFd,
    parts: Parts,
    state: Mutex<State>,
    /// Notified when an extent is dropped, and at the end.
    changed: Condvar,
    /// Bytes of dropped content that may wait.
    most_dropped: usize,
}

impl Extents {
    pub(super) fn new(file: OwnedFd, parts: Parts, capacity: usize) -> Self {
        let long = Free { fresh: parts.middle, ..Free::default() };
        let state = Mutex::new(State { long, ..State::default() });
        Self { file, parts, state, changed: Condvar::new(), most_dropped: capacity / DROPPED }
    }

    /// The start of a free extent for `length` bytes.
    pub(super) fn take(&self, length: usize) -> Option<usize> {
        let Parts { middle, end, long } = self.parts;
        let mut state = self.state.lock();
        if length <= SHORT {
            state.short.take(SHORT, middle)
        } else if length <= long {
            state.long.take(long, end)
        } else {
            None
        }
    }

    /// Gives back an extent with `length` bytes of content. Emptying a long one takes as long as ten hits, so another
    /// thread does it while it keeps up.
    pub(super) fn give_back(&self, start: usize, length: usize) {
        let mut state = self.state.lock();
        if state.dropped_bytes + length <= self.most_dropped {
            state.dropped.push((start, length));
            state.dropped_bytes += length;
            drop(state);
            self.changed.notify_one();
        } else {
            drop(state);
            self.empty(start);
        }
    }

    /// Returns the pages of an extent to the system. Those that a socket still holds live until they are sent.
    fn empty(&self, start: usize) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let length = self.parts.extent(start) as u64;
        // An extent that keeps its pages is not used again.
        if fallocate(&self.file, flags, start as u64, length).is_ok() {
            let mut state = self.state.lock();
            let State { short, long, .. } = &mut *state;
            let part = if start < self.parts.middle { short } else { long };
            part.returned.push(start);
        }
    }

    /// Empties dropped extents until the file is closed.
    pub(super) fn run(&self) {
        let mut state = self.state.lock();
        while !state.is_closed {
            match state.dropped.pop() {
                Some((start, length)) => {
                    drop(state);
                    self.empty(start);
                    state = self.state.lock();
                    state.dropped_bytes -= length;
                }
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Ends the thread that empties extents.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};

    use super::*;
    use crate::base::clock::Stopwatch;

    const CAPACITY: usize = 64 << 20;

    fn extents() -> Extents {
        let parts = Parts::new(CAPACITY, 1 << 20);
        let file = memfd_create("test", MemfdFlags::CLOEXEC).expect("a file");
        ftruncate(&file, parts.length() as u64).expect("a length");
        Extents::new(file, parts, CAPACITY)
    }

    #[test]
    fn the_thread_empties_what_is_dropped() {
        let extents = extents();
        for length in [LEAST, SHORT, SHORT + 1, 1 << 20] {
            let start = extents.take(length).expect("a free extent");
            rustix::io::pwrite(&extents.file, &vec![1; length], start as u64).expect("written");
            extents.give_back(start, length);
            assert_ne!(extents.take(length), Some(start), "it is not empty yet");
        }
        assert_eq!(extents.state.lock().dropped.len(), 4);
        std::thread::scope(|scope| {
            scope.spawn(|| extents.run());
            let watch = Stopwatch::start();
            while extents.state.lock().dropped_bytes > 0 {
                assert!(watch.elapsed() < Duration::from_secs(60), "it does not run");
                std::thread::yield_now();
            }
            extents.close();
        });
        assert_eq!(fstat(&extents.file).expect("a file").st_blocks, 0);
        let state = extents.state.lock();
        assert_eq!((state.short.returned.len(), state.long.returned.len()), (2, 2));
    }

    #[test]
    fn few_wait_for_the_thread() {
        let extents = extents();
        for _ in 0..10 {
            let start = extents.take(1 << 20).expect("a free extent");
            extents.give_back(start, 1 << 20);
        }
        assert_eq!(extents.state.lock().dropped_bytes, CAPACITY / DROPPED);
    }
}
