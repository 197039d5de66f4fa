//! Readers that get records as they are written.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Record, filter::Filter, format::json_line};

/// The most readers at once.
pub(crate) const MOST: usize = 16;

/// Lines that wait for a reader, and their bytes. Further ones are lost for it.
const WAITING: usize = 4096;
const WAITING_BYTES: usize = 1 << 20;

/// Readers that get records as they are written.
#[derive(Debug, Default)]
pub(super) struct Followers {
    /// Whether there are any. Serving threads look at nothing else if there are none.
    any: AtomicBool,
    all: ArcSwap<Vec<Arc<Follower>>>,
    /// Held while the two above change.
    changing: Mutex<()>,
}

#[derive(Debug)]
struct Follower {
    filter: Filter,
    lines: mpsc::Sender<Bytes>,
    bytes: AtomicUsize,
    lost: AtomicU64,
}

/// A reader's side.
#[derive(Debug)]
pub(crate) struct Following {
    follower: Arc<Follower>,
    lines: mpsc::Receiver<Bytes>,
    followers: Weak<Followers>,
}

impl Followers {
    /// Begins to pass the records that a filter accepts to a new reader; `None` if there are too many.
    pub(super) fn add(self: &Arc<Self>, filter: Filter) -> Option<Following> {
        let (sender, lines) = mpsc::channel(WAITING);
        let (bytes, lost) = (AtomicUsize::new(0), AtomicU64::new(0));
        let follower = Arc::new(Follower { filter, lines: sender, bytes, lost });
        let _changing = self.changing.lock();
        let mut all = Vec::clone(&self.all.load());
        if all.len() == MOST {
            return None;
        }
        all.push(Arc::clone(&follower));
        self.set(all);
        Some(Following { follower, lines, followers: Arc::downgrade(self) })
    }

    fn remove(&self, follower: &Arc<Follower>) {
        let _changing = self.changing.lock();
        let mut all = Vec::clone(&self.all.load());
        all.retain(|known| !Arc::ptr_eq(known, follower));
        self.set(all);
    }

    fn set(&self, all: Vec<Arc<Follower>>) {
        let any = !all.is_empty();
        self.all.store(Arc::new(all));
        self.any.store(any, Ordering::Release);
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Passes a record to the readers that want it. Never waits.
    pub(super) fn pass(&self, record: &Record<'_>) {
        if !self.any() {
            return;
        }
        let mut line = None;
        for follower in self.all.load().iter().filter(|it| it.filter.accepts(record)) {
            let line = line.get_or_insert_with(|| Bytes::from(json_line(record)));
            follower.offer(line.clone());
        }
    }
}

impl Follower {
    fn offer(&self, line: Bytes) {
        let length = line.len();
        let before = self.bytes.fetch_add(length, Ordering::Relaxed);
        if before + length > WAITING_BYTES || self.lines.try_send(line).is_err() {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Following {
    /// The next line, a JSON object with its line end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let line = self.lines.recv().await;
        self.taken(line)
    }

    /// The next line, if one waits.
    pub(crate) fn waiting(&mut self) -> Option<Bytes> {
        let line = self.lines.try_recv().ok();
        self.taken(line)
    }

    fn taken(&self, line: Option<Bytes>) -> Option<Bytes> {
        let length = line.as_ref().map_or(0, Bytes::len);
        self.follower.bytes.fetch_sub(length, Ordering::Relaxed);
        line
    }

    /// The lines that were lost since the last call.
    pub(crate) fn take_lost(&self) -> u64 {
        self.follower.lost.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(followers) = self.followers.upgrade() {
            followers.remove(&self.follower);
        }
    }
}
