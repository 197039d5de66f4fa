//! What viewers request most, what fails, and how traffic changes: for the dashboard.
//!
//! A thread that serves requests decides which exchanges to sample, which costs a few nanoseconds, and copies those, at most
//! some hundred a second. A task counts them.

mod counts;
mod errors;
mod range;
mod sample;
mod sampler;
mod seen_error;
mod space_saving;
mod top_lists;
mod traffic;
mod user_agent;
mod waits;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

pub(crate) use counts::Counts;
use errors::RecentErrors;
use parking_lot::Mutex;
pub(crate) use range::Range;
use sample::Sample;
use sampler::Sampler;
pub(crate) use seen_error::SeenError;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};
pub(crate) use top_lists::{Top, TopLists};

pub(crate) use traffic::{Traffic, TrafficHistory};

use crate::{
    access_log::Record,
    base::{
        clock::{Clock, Timestamp},
        metrics::Metrics,
    },
};

/// Samples that wait to be counted. Further ones are dropped.
const WAITING: usize = 16_384;

/// How long samples wait for others. A sample that finds this task waiting wakes its thread, which costs more than the hit.
const PAUSE: Duration = Duration::from_millis(50);

/// Samples counted at once, while readers wait.
const TOGETHER: usize = 256;

/// The statistics of this process, from its start.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    /// Set once the admin address is open.
    samples: OnceLock<mpsc::Sender<Sample>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    top: TopLists,
    errors: RecentErrors,
    traffic: TrafficHistory,
}

impl Statistics {
    /// Begins to take samples. Must be called within a runtime; further calls do nothing.
    pub(crate) fn start(self: &Arc<Self>, metrics: Arc<Metrics>, clock: Clock) {
        let (sender, samples) = mpsc::channel(WAITING);
        if self.samples.set(sender).is_ok() {
            tokio::spawn(Arc::clone(self).count(samples));
            tokio::spawn(Arc::clone(self).remember(metrics, clock));
        }
    }

    /// Whether to sample an exchange that ends at `end`, and with which weight. The weight is 0 for an error that only the
    /// list of errors keeps.
    pub(crate) fn weight(&self, end: Timestamp, status: u16) -> Option<u32> {
        let samples = self.samples.get().filter(|_| status != 0)?;
        let weight = Sampler::weight(end, status >= 400)?;
        (samples.capacity() > 0).then_some(weight)
    }

    /// Adds a sample of a viewer from a country. Never waits.
    pub(crate) fn add(&self, record: &Record<'_>, country: Option<&str>, weight: u32) {
        if let Some(samples) = self.samples.get() {
            // A full queue loses samples.
            let _ = samples.try_send(Sample::of(record, country, weight));
        }
    }

    /// What viewers requested most, and waited for. `origins` returns those of a distribution's path.
    pub(crate) fn top(
        &self,
        range: Range,
        now: Timestamp,
        origins: impl Fn(&str, &str) -> Vec<String>,
    ) -> Top {
        self.seen.lock().top.of(range, now, origins)
    }

    /// The last errors, newest first.
    pub(crate) fn errors(&self) -> Vec<SeenError> {
        self.seen.lock().errors.newest_first()
    }

    /// The traffic of a time.
    pub(crate) fn traffic(&self, range: Range, metrics: &Metrics, now: Timestamp) -> Traffic {
        let totals = metrics.totals();
        self.seen.lock().traffic.of(range, totals, now)
    }

    async fn count(self: Arc<Self>, mut samples: mpsc::Receiver<Sample>) {
        let mut taken = Vec::with_capacity(TOGETHER);
        while samples.recv_many(&mut taken, TOGETHER).await > 0 {
            {
                let mut seen = self.seen.lock();
                for sample in taken.drain(..) {
                    seen.top.add(&sample);
                    seen.errors.add(sample);
                }
            }
            if samples.is_empty() {
                sleep(PAUSE).await;
            }
        }
    }

    async fn remember(self: Arc<Self>, metrics: Arc<Metrics>, clock: Clock) {
        let mut steps = interval(TrafficHistory::STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            let totals = metrics.totals();
            self.seen.lock().traffic.remember(totals, clock.now());
        }
    }
}
