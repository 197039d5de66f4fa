//! The counts of a run: latencies, bytes, hits, failures.

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use hdrhistogram::Histogram;
use http::HeaderValue;
use parking_lot::Mutex;

use super::{
    answer::{CacheResult, LoadResponse},
    request_kind::RequestKind,
};
use crate::aws::describe;

/// The reason why a request has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Failure {
    /// No connection was established.
    Connect,
    /// The connection ended during the request.
    Cut,
    /// The request took too long.
    Timeout,
    /// The server kept refusing requests unread.
    Refused,
    /// The request was due but not sent before the run ended: no connection was free.
    Unsent,
    /// The request was in flight when the run was interrupted.
    Interrupted,
}

impl Failure {
    /// A short name for the failure.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "not connected",
            Self::Cut => "cut off",
            Self::Timeout => "timed out",
            Self::Refused => "refused unread",
            Self::Unsent => "due, not sent",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A histogram in microseconds with three significant digits, from one microsecond.
pub(crate) type Latencies = Histogram<u64>;

/// An empty histogram that grows with its values.
pub(crate) fn latencies() -> Latencies {
    Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are among those allowed"))
}

/// Failures of one kind.
#[derive(Clone, Default)]
pub(super) struct Failed {
    pub(super) count: u64,
    /// The reason of the first failure.
    pub(super) reason: Option<String>,
}

/// Counts since the last collection.
pub(super) struct Tally {
    /// Latencies of all requests; failed ones count the time they waited.
    pub(super) latencies: Latencies,
    pub(super) bytes: u64,
    pub(super) hits: u64,
    /// Responses that waited for the fetch of another request.
    pub(super) collapsed: u64,
    /// Responses that report hit, miss or collapsed.
    pub(super) reported: u64,
    /// Range requests that got a response; `conditions` counts conditional ones.
    pub(super) ranges: u64,
    pub(super) conditions: u64,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) failures: BTreeMap<Failure, Failed>,
    /// The target of the first redirect.
    pub(super) location: Option<HeaderValue>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            latencies: latencies(),
            bytes: 0,
            hits: 0,
            collapsed: 0,
            reported: 0,
            ranges: 0,
            conditions: 0,
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            location: None,
        }
    }
}

impl Tally {
    pub(super) fn answer(&mut self, answer: &LoadResponse, latency: Duration) {
        self.wait(latency);
        self.bytes += answer.bytes;
        self.hits += u64::from(answer.cache == Some(CacheResult::Hit));
        self.collapsed += u64::from(answer.cache == Some(CacheResult::Collapsed));
        self.reported += u64::from(answer.cache.is_some());
        self.ranges += u64::from(answer.kind == RequestKind::Range);
        self.conditions += u64::from(answer.kind == RequestKind::IfChanged);
        *self.statuses.entry(answer.status.as_u16()).or_default() += 1;
        if self.location.is_none() {
            self.location.clone_from(&answer.location);
        }
    }

    /// Counts a failure, its reason, and how long the request waited.
    pub(super) fn fail(&mut self, failure: Failure, reason: Option<&dyn Error>, waited: Duration) {
        let failed = self.failures.entry(failure).or_default();
        failed.count += 1;
        if failed.reason.is_none() {
            failed.reason = reason.map(describe);
        }
        self.wait(waited);
    }

    fn wait(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        // The histogram grows with its values.
        let _ = self.latencies.record(micros);
    }

    pub(super) fn add(&mut self, other: &Self) {
        // Both histograms have the same units, and both grow.
        let _ = self.latencies.add(&other.latencies);
        self.bytes += other.bytes;
        self.hits += other.hits;
        self.collapsed += other.collapsed;
        self.reported += other.reported;
        self.ranges += other.ranges;
        self.conditions += other.conditions;
        self.location = self.location.take().or_else(|| other.location.clone());
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (failure, Failed { count, reason }) in &other.failures {
            let failed = self.failures.entry(*failure).or_default();
            failed.count += count;
            failed.reason = failed.reason.take().or_else(|| reason.clone());
        }
    }

    pub(super) fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Requests that failed or got an error response. Interrupted ones do not count.
    pub(super) fn errors(&self) -> u64 {
        let failures =
            self.failures.iter().filter(|(failure, _)| **failure != Failure::Interrupted);
        let failed: u64 = failures.map(|(_, failed)| failed.count).sum();
        let refused = self.statuses.iter().filter(|(status, _)| **status >= 400);
        failed + refused.map(|(_, count)| count).sum::<u64>()
    }
}

/// Takes the counts of all threads.
pub(super) fn collect(tallies: &[Arc<Mutex<Tally>>]) -> Tally {
    let mut tally = Tally::default();
    for one in tallies {
        let taken = std::mem::take(&mut *one.lock());
        tally.add(&taken);
    }
    tally
}

/// One second of a run, as reported during the run.
#[derive(Clone, Debug)]
pub struct Second {
    /// The time from the start of the run to the end of this second.
    pub at: Duration,
    /// The length; the last second of a run may be shorter.
    pub length: Duration,
    /// Requests that got a response.
    pub answers: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Hits among the responses that report hit or miss.
    pub hit_ratio: Option<f64>,
    /// Requests that failed or got an error response.
    pub errors: u64,
    /// The 50th, 90th, 99th and 99.9th percentiles of latency, if there were responses.
    pub percentiles: Option<[Duration; 4]>,
}

/// The reported percentiles.
pub(super) const PERCENTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

pub(super) fn percentiles(latencies: &Latencies) -> Option<[Duration; 4]> {
    let values =
        || PERCENTILES.map(|part| Duration::from_micros(latencies.value_at_quantile(part)));
    (!latencies.is_empty()).then(values)
}

impl Second {
    pub(super) fn of(tally: &Tally, at: Duration, length: Duration) -> Self {
        Self {
            at,
            length,
            answers: tally.answers(),
            bytes: tally.bytes,
            hit_ratio: ratio(tally.hits, tally.reported),
            errors: tally.errors(),
            percentiles: percentiles(&tally.latencies),
        }
    }
}

/// The ratio; `None` if `whole` is zero.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
