//! A pool of threads that read records, because a read of a file blocks.

use std::{collections::VecDeque, io, sync::Arc};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{
    place::Place,
    record::Loaded,
    segment::{ReadError, Segment},
};

/// Threads. A device answers several reads at once.
const THREADS: usize = 8;

/// Reads that may wait for a thread. More would come too late.
const MAX_WAITING: usize = 256;

/// A read, and where its result goes.
struct Read {
    segment: Arc<Segment>,
    place: Place,
    result: oneshot::Sender<Result<Loaded, ReadError>>,
}

#[derive(Default)]
struct Waiting {
    reads: VecDeque<Read>,
    is_closed: bool,
}

#[derive(Default)]
struct Pool {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

/// The threads, which end when this is dropped.
pub(super) struct Readers(Arc<Pool>);

impl Readers {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let readers = Self(Arc::default());
        for _ in 0..THREADS {
            let pool = Arc::clone(&readers.0);
            std::thread::Builder::new().name("forebay-read".into()).spawn(move || work(&pool))?;
        }
        Ok(readers)
    }

    /// Reads and verifies the record at `place`. `None` if too many reads are waiting.
    pub(super) fn read(
        &self,
        segment: Arc<Segment>,
        place: Place,
    ) -> Option<oneshot::Receiver<Result<Loaded, ReadError>>> {
        let mut waiting = self.0.waiting.lock();
        if waiting.reads.len() >= MAX_WAITING {
            return None;
        }
        let (result, read) = oneshot::channel();
        waiting.reads.push_back(Read { segment, place, result });
        self.0.arrived.notify_one();
        Some(read)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.waiting.lock().is_closed = true;
        self.0.arrived.notify_all();
    }
}

fn work(pool: &Pool) {
    loop {
        let mut waiting = pool.waiting.lock();
        let read = loop {
            match waiting.reads.pop_front() {
                Some(read) => break read,
                None if waiting.is_closed => return,
                None => pool.arrived.wait(&mut waiting),
            }
        };
        drop(waiting);
        // The request may have timed out before the read began.
        if !read.result.is_closed() {
            let _ = read.result.send(read.segment.record(read.place));
        }
    }
}
