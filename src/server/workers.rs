//! Worker threads: one runtime and one set of listening sockets for each.
//!
//! This is the only module that spreads work over the cores. A request stays on one core from its first byte
//! to its last.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    base::{clock::Stopwatch, metrics::Metrics},
    cache::store::{copy_hot_responses, drop_idle_copies},
};

/// A worker looks for new requests after this many tasks, even if there are more. Large misses keep their tasks
/// runnable, and each takes up to a millisecond.
const TASKS: u32 = 8;

/// The threads that serve viewers.
#[derive(Debug)]
pub(crate) struct Workers(Vec<JoinHandle<()>>);

/// Starts a worker for each heartbeat; each runs the future that `work` makes for it.
///
/// # Errors
/// When a thread or a runtime cannot be started.
pub(crate) fn spawn_workers<W>(
    heartbeats: &Heartbeats,
    mut work: impl FnMut() -> W,
) -> io::Result<Workers>
where
    W: FnOnce(&Runtime) + Send + 'static,
{
    let count = heartbeats.beats.len();
    let mut threads = Vec::with_capacity(count);
    for number in 0..count {
        let runtime = Builder::new_current_thread().event_interval(TASKS).enable_all().build()?;
        runtime.spawn(heartbeats.clone().beat(number));
        let work = work();
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        threads.push(thread.spawn(move || work(&runtime))?);
    }
    Ok(Workers(threads))
}

impl Workers {
    /// Waits until all workers have ended.
    pub(crate) fn join(self) {
        for thread in self.0 {
            // A worker that panicked has logged it.
            let _ = thread.join();
        }
    }
}

/// The interval at which an event loop shows that it is running.
const BEAT: Duration = Duration::from_millis(100);

/// Timers are rounded up to this.
const TIMER: Duration = Duration::from_millis(1);

/// The time when each worker's event loop last ran.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeats {
    started: Stopwatch,
    metrics: Arc<Metrics>,
    /// In milliseconds since the start.
    beats: Arc<[AtomicU64]>,
}

impl Heartbeats {
    /// Heartbeats of this many workers, all of them running now.
    #[must_use]
    pub(crate) fn new(workers: usize, metrics: Arc<Metrics>) -> Self {
        let beats = (0..workers).map(|_| AtomicU64::new(0)).collect();
        Self { started: Stopwatch::start(), metrics, beats }
    }

    /// For each worker, the time since its event loop last ran.
    #[must_use]
    pub(crate) fn ages(&self) -> Vec<Duration> {
        let now = self.now();
        let age = |beat: &AtomicU64| now.saturating_sub(beat.load(Ordering::Relaxed));
        self.beats.iter().map(age).map(Duration::from_millis).collect()
    }

    /// The workers whose event loops have not run for this long.
    #[must_use]
    pub(crate) fn stalled(&self, limit: Duration) -> Vec<usize> {
        let ages = self.ages().into_iter().enumerate();
        ages.filter(|(_, age)| *age > limit).map(|(number, _)| number).collect()
    }

    async fn beat(self, worker: usize) {
        copy_hot_responses();
        while let Some(beat) = self.beats.get(worker) {
            beat.store(self.now(), Ordering::Relaxed);
            let watch = Stopwatch::start();
            tokio::time::sleep(BEAT).await;
            drop_idle_copies();
            self.metrics.worker_was_late(watch.elapsed().saturating_sub(BEAT + TIMER));
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_worker_that_blocks_is_seen() {
        let heartbeats = Heartbeats::new(2, Metrics::new());
        let (release, blocked) = sync_channel::<()>(0);
        let mut blocked = Some(blocked);
        let workers = spawn_workers(&heartbeats, || {
            let blocked = blocked.take();
            move |runtime: &Runtime| {
                runtime.block_on(async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    match blocked {
                        // Serving code must never block like this.
                        Some(blocked) => drop(blocked.recv()),
                        None => tokio::time::sleep(BEAT * 40).await,
                    }
                });
            }
        });
        let workers = workers.expect("workers");
        let limit = BEAT * 15;
        while heartbeats.stalled(limit).is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(heartbeats.stalled(limit), [0]);
        drop(release);
        workers.join();
    }
}
