//! Metrics that are read only when they are requested.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// What is read only when the metrics are requested.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Bytes of content in memory.
    pub cache_bytes: u64,
    /// Stored responses and slices in memory.
    pub cache_entries: u64,
    /// Evictions because the memory was full.
    pub cache_evictions: u64,
    /// Misses for responses that had been evicted.
    pub cache_evicted_misses: u64,
    /// Bytes of records on their way to the access log.
    pub access_log_bytes: u64,
    /// Bytes of records on their way to the disk cache, if there is one.
    pub disk_bytes: Option<u64>,
    /// Compressions that run or wait for their turn.
    pub compressions: u64,
    /// For each worker, the time since its event loop last ran.
    pub heartbeat_ages: Vec<Duration>,
    /// When the AWS credentials expire, in seconds since 1970; `None` if they do not, or if there are none.
    pub credentials_expiry: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkerLabel {
    worker: usize,
}

/// Reports the last snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct SnapshotCollector(Arc<Mutex<Snapshot>>);

impl SnapshotCollector {
    pub(super) fn set(&self, snapshot: Snapshot) {
        *self.0.lock() = snapshot;
    }
}

impl Collector for SnapshotCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.0.lock();
        let (bytes, seconds) = (Some(&Unit::Bytes), Some(&Unit::Seconds));
        for (name, help, value) in [
            ("cache_evictions", "Evictions because the cache was full.", now.cache_evictions),
            (
                "cache_evicted_misses",
                "Misses for what could have been served if it had not been evicted.",
                now.cache_evicted_misses,
            ),
        ] {
            let counter = ConstCounter::new(value);
            let kind = counter.metric_type();
            counter.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        let mut gauge = |name, help, unit: Option<&Unit>, value: Option<u64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        gauge("cache", "Bytes of content in memory.", bytes, Some(now.cache_bytes))?;
        gauge("cache_entries", "Stored responses and slices.", None, Some(now.cache_entries))?;
        let help = "Bytes of records on their way to the access log.";
        gauge("access_log_queue", help, bytes, Some(now.access_log_bytes))?;
        gauge("disk_queue", "Bytes on their way to the disk cache.", bytes, now.disk_bytes)?;
        let help = "Compressions that run or wait for their turn.";
        gauge("compressions", help, None, Some(now.compressions))?;
        let help = "When the AWS credentials expire, since 1970.";
        gauge("credentials_expiry_timestamp", help, seconds, now.credentials_expiry)?;
        let help = "Time since the event loop of a worker last ran.";
        let name = "worker_heartbeat_age";
        let mut family = encoder.encode_descriptor(name, help, seconds, MetricType::Gauge)?;
        for (worker, age) in now.heartbeat_ages.iter().enumerate() {
            let gauge = ConstGauge::new(age.as_secs_f64());
            gauge.encode(family.encode_family(&WorkerLabel { worker })?)?;
        }
        Ok(())
    }
}
