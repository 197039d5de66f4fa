//! Readers that get records as they are written.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Record, filter::Filter, format::json_line};

/// The most readers at once.
const MOST: usize = 16;

/// Lines that wait for a reader. Further ones are lost for it.
const WAITING: usize = 4096;

/// Readers that get records as they are written.
#[derive(Debug, Default)]
pub(super) struct Followers {
    /// Whether there are any. Serving threads look at nothing else if there are none.
    any: AtomicBool,
    all: ArcSwap<Vec<Arc<Follower>>>,
}

#[derive(Debug)]
struct Follower {
    filter: Filter,
    lines: mpsc::Sender<Bytes>,
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
        let follower = Arc::new(Follower { filter, lines: sender, lost: AtomicU64::new(0) });
        let before = self.all.rcu(|all| {
            let mut all = Vec::clone(all);
            if all.len() < MOST {
                all.push(Arc::clone(&follower));
            }
            all
        });
        if before.len() >= MOST {
            return None;
        }
        self.any.store(true, Ordering::SeqCst);
        Some(Following { follower, lines, followers: Arc::downgrade(self) })
    }

    fn remove(&self, follower: &Arc<Follower>) {
        self.all.rcu(|all| {
            let others = all.iter().filter(|known| !Arc::ptr_eq(known, follower));
            others.map(Arc::clone).collect::<Vec<_>>()
        });
        self.any.store(false, Ordering::SeqCst);
        // Others may be left, or have come in the meantime.
        if !self.all.load().is_empty() {
            self.any.store(true, Ordering::SeqCst);
        }
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
            if follower.lines.try_send(line.clone()).is_err() {
                follower.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Following {
    /// The next line, a JSON object with its line end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.lines.recv().await
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
