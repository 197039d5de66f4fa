//! Counters of served requests per distribution, sharded by thread: two threads that serve the same
//! object do not contend for a cache line.

use std::{
    array::from_fn,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::{
    Answered, DistributionLabel, LATENCY, RequestLabels, ResultLabels, ResultType, StaleLabels,
    StaleReason, StatusClass, Totals, totals::BUCKETS,
};
use crate::base::instance;

/// The number of shards; further threads share them.
const SHARDS: usize = 16;

/// One thread's counters, alone in their CPU cache lines.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Shard {
    of_results: [OfResult; ResultType::ALL.len()],
    collapsed: AtomicU64,
    stale: [AtomicU64; StaleReason::ALL.len()],
}

/// The counters of one result type.
#[derive(Debug, Default)]
struct OfResult {
    requests: [AtomicU64; StatusClass::COUNT],
    bytes: AtomicU64,
    /// Requests by duration; the last bucket is above all bounds.
    times: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// One distribution's counters.
#[derive(Debug, Default)]
pub struct Served([Shard; SHARDS]);

impl Served {
    /// Counts one served request.
    pub fn answered(&self, answered: &Answered) {
        let add = |counter: &AtomicU64, count| counter.fetch_add(count, Ordering::Relaxed);
        let shard = &self.0[instance::thread_number() % SHARDS];
        let of_result = &shard.of_results[answered.result as usize];
        add(&of_result.requests[StatusClass::place(answered.status)], 1);
        add(&of_result.bytes, answered.bytes);
        let seconds = answered.duration.as_secs_f64();
        let time = LATENCY.iter().position(|bound| seconds <= *bound).unwrap_or(LATENCY.len());
        add(&of_result.times[time], 1);
        let micros = answered.duration.as_micros();
        add(&of_result.micros, u64::try_from(micros).unwrap_or(u64::MAX));
        if answered.is_collapsed {
            add(&shard.collapsed, 1);
        }
        if let Some(reason) = answered.stale {
            add(&shard.stale[reason as usize], 1);
        }
    }

    fn totals(&self) -> Totals {
        let class = |result, class: usize| self.sum_of(result, |it| &it.requests[class]);
        let all = |result| (0..StatusClass::COUNT).map(|number| class(result, number)).sum::<u64>();
        let classes =
            |number: usize| ResultType::ALL.map(|result| class(result, number)).iter().sum();
        let bytes = |result| self.sum_of(result, |it| &it.bytes);
        let times = |result| from_fn(|place| self.sum_of(result, |it| &it.times[place]));
        Totals {
            requests: ResultType::ALL.map(all).iter().sum(),
            hits: all(ResultType::Hit),
            refresh_hits: all(ResultType::RefreshHit),
            misses: all(ResultType::Miss),
            client_errors: classes(3),
            server_errors: classes(4),
            bytes: ResultType::ALL.map(bytes).iter().sum(),
            hit_bytes: bytes(ResultType::Hit) + bytes(ResultType::RefreshHit),
            collapsed: self.sum(|shard| &shard.collapsed),
            stale: (0..StaleReason::ALL.len()).map(|place| self.sum(|s| &s.stale[place])).sum(),
            hit_times: times(ResultType::Hit),
            miss_times: times(ResultType::Miss),
        }
    }

    /// The sum of a counter of one result type.
    fn sum_of(&self, result: ResultType, counter: impl Fn(&OfResult) -> &AtomicU64) -> u64 {
        self.sum(|shard| counter(&shard.of_results[result as usize]))
    }

    fn sum(&self, counter: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.0.iter().map(|shard| counter(shard).load(Ordering::Relaxed)).sum()
    }
}

/// Encodes the value of a counter with these labels.
fn encode_count(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    count: u64,
) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
}

/// All distributions' counters by id.
#[derive(Clone, Debug, Default)]
pub(super) struct AllServed(Arc<Mutex<BTreeMap<String, Arc<Served>>>>);

impl AllServed {
    /// The counters of one distribution, created if missing.
    pub(super) fn of(&self, id: &str) -> Arc<Served> {
        Arc::clone(self.0.lock().entry(id.to_owned()).or_default())
    }

    /// What was counted of each distribution until now.
    pub(super) fn totals(&self) -> Vec<(String, Totals)> {
        self.0.lock().iter().map(|(id, served)| (id.clone(), served.totals())).collect()
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "requests",
            "Requests answered.",
            None,
            MetricType::Counter,
        )?;
        for (id, served) in &*self.0.lock() {
            for result in ResultType::ALL {
                for (class, status) in StatusClass::ALL.into_iter().enumerate() {
                    let labels = RequestLabels { distribution: id.clone(), result, status };
                    let count = served.sum_of(result, |it| &it.requests[class]);
                    encode_count(&mut family, &labels, count)?;
                }
            }
        }
        Ok(())
    }

    fn bytes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (help, unit) = ("Bytes of content sent to viewers.", Some(&Unit::Bytes));
        let mut family = encoder.encode_descriptor("sent", help, unit, MetricType::Counter)?;
        for (id, served) in &*self.0.lock() {
            for result in ResultType::ALL {
                let labels = ResultLabels { distribution: id.clone(), result };
                let bytes = served.sum_of(result, |it| &it.bytes);
                encode_count(&mut family, &labels, bytes)?;
            }
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "the format knows numbers of this kind only")]
    fn seconds(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time from the head of a request to the last byte of its response.";
        let (name, unit) = ("request_duration", Some(&Unit::Seconds));
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (id, served) in &*self.0.lock() {
            for result in ResultType::ALL {
                let labels = ResultLabels { distribution: id.clone(), result };
                let bound = |place: usize| LATENCY.get(place).copied().unwrap_or(f64::INFINITY);
                let times: [(f64, u64); BUCKETS] =
                    from_fn(|place| (bound(place), served.sum_of(result, |it| &it.times[place])));
                let count = times.iter().map(|(_, count)| count).sum();
                let seconds = served.sum_of(result, |it| &it.micros) as f64 / 1e6;
                let mut histogram = family.encode_family(&labels)?;
                histogram.encode_histogram::<NoLabelSet>(seconds, count, &times, None)?;
            }
        }
        Ok(())
    }

    fn collapsed(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that waited for the fetch of another one.";
        let mut family =
            encoder.encode_descriptor("collapsed_requests", help, None, MetricType::Counter)?;
        for (id, served) in &*self.0.lock() {
            let labels = DistributionLabel { distribution: id.clone() };
            let count = served.sum(|shard| &shard.collapsed);
            encode_count(&mut family, &labels, count)?;
        }
        Ok(())
    }

    fn stale(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Stale responses served, by the reason for serving them.";
        let mut family =
            encoder.encode_descriptor("stale_responses", help, None, MetricType::Counter)?;
        for (id, served) in &*self.0.lock() {
            for reason in StaleReason::ALL {
                let labels = StaleLabels { distribution: id.clone(), reason: reason.name() };
                let count = served.sum(|shard| &shard.stale[reason as usize]);
                encode_count(&mut family, &labels, count)?;
            }
        }
        Ok(())
    }
}

impl Collector for AllServed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.requests(&mut encoder)?;
        self.bytes(&mut encoder)?;
        self.seconds(&mut encoder)?;
        self.collapsed(&mut encoder)?;
        self.stale(&mut encoder)
    }
}
