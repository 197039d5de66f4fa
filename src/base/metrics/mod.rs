//! Every metric family, declared once.
//!
//! Labels are enums and configured names, never text chosen by a viewer.

mod acme;
mod answered;
mod cluster;
mod configuration;
mod delivery;
mod disk;
mod multiplexed;
mod origin;
mod process;
mod served;
mod snapshot;
mod stale_reason;
mod status_class;
mod totals;
mod traces;

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

pub(crate) use acme::AcmeMetrics;
pub use answered::Answered;
pub use cluster::{ClusterMetrics, PeerMetrics};
use configuration::ConfigurationMetrics;
pub(crate) use delivery::DeliveryMetrics;
pub use disk::DiskMetrics;
use multiplexed::MultiplexedMetrics;
use origin::AllOrigins;
pub use origin::OriginMetrics;
use parking_lot::Mutex;
use process::Process;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};
use served::AllServed;
pub(crate) use served::Served;
pub use snapshot::Snapshot;
use snapshot::SnapshotCollector;
pub use stale_reason::StaleReason;
use status_class::StatusClass;
pub use totals::Totals;
pub(crate) use traces::{SpanLoss, TraceMetrics};

use crate::base::log;

/// How the cache handled a request, in CloudFront's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultType {
    /// Served from the cache.
    Hit,
    /// Served from the cache after the origin validated it.
    RefreshHit,
    /// Fetched from the origin.
    Miss,
    /// An error from the origin or from Forebay.
    Error,
    /// Redirected to HTTPS.
    Redirect,
}

impl ResultType {
    /// CloudFront's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "Hit",
            Self::RefreshHit => "RefreshHit",
            Self::Miss => "Miss",
            Self::Error => "Error",
            Self::Redirect => "Redirect",
        }
    }

    /// All result types, in order.
    pub const ALL: [Self; 5] =
        [Self::Hit, Self::RefreshHit, Self::Miss, Self::Error, Self::Redirect];
}

impl EncodeLabelValue for ResultType {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    distribution: String,
    result: ResultType,
    status: StatusClass,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    distribution: String,
    result: ResultType,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StaleLabels {
    distribution: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DistributionLabel {
    distribution: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodingLabel {
    coding: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AddressLabel {
    address: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// The beginning of the names of all metrics but those of the process.
const PREFIX: &str = "forebay";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Upper bounds of latency buckets, in seconds.
pub(crate) const LATENCY: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0];

fn latency() -> Histogram {
    Histogram::new(LATENCY)
}

/// All families and their registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    served: AllServed,
    origins: AllOrigins,
    compressed: Family<CodingLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    handshake_failures: Family<ReasonLabel, Counter>,
    listening: Family<AddressLabel, Gauge>,
    /// Currently open connections.
    pub connections: Gauge,
    /// Connections that ended in a protocol or transport error, or a timeout.
    pub connection_errors: Counter,
    /// Requests refused by hyper for the size of their head (431 and 414 before our code).
    pub oversized_heads: Counter,
    /// HTTP/2 and HTTP/3 connections.
    pub(crate) multiplexed: MultiplexedMetrics,
    /// Connections closed because their client already had too many.
    pub client_limit: Counter,
    /// Access log records dropped because the writer was too slow.
    pub log_dropped: Counter,
    log_lines_dropped: Counter,
    worker_lag: Histogram,
    snapshot: SnapshotCollector,
    purges: Counter,
    /// The configuration and its certificates.
    pub(crate) configuration: ConfigurationMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::default()),
            served: AllServed::default(),
            origins: AllOrigins::default(),
            compressed: Family::default(),
            refused: Family::default(),
            handshake_failures: Family::default(),
            listening: Family::default(),
            connections: Gauge::default(),
            connection_errors: Counter::default(),
            oversized_heads: Counter::default(),
            multiplexed: MultiplexedMetrics::default(),
            client_limit: Counter::default(),
            log_dropped: Counter::default(),
            log_lines_dropped: Counter::default(),
            worker_lag: latency(),
            snapshot: SnapshotCollector::default(),
            purges: Counter::default(),
            configuration: ConfigurationMetrics::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    /// A new set of families.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn register(&self) {
        let mut registry = self.registry.lock();
        registry.register_collector(Box::new(Process));
        let r = registry.sub_registry_with_prefix(PREFIX);
        r.register("build", "The version of Forebay", Info::new([("version", VERSION)]));
        r.register_collector(Box::new(self.served.clone()));
        self.origins.register(r);
        r.register("compressed", "Responses compressed, by coding", self.compressed.clone());
        r.register("refused_requests", "Requests refused at the edge", self.refused.clone());
        r.register(
            "tls_handshake_failures",
            "Failed TLS handshakes",
            self.handshake_failures.clone(),
        );
        r.register("listening", "Addresses that accept viewers", self.listening.clone());
        r.register("connections", "Open connections", self.connections.clone());
        r.register(
            "connection_errors",
            "Connections that ended in an error or a timeout",
            self.connection_errors.clone(),
        );
        r.register(
            "oversized_heads",
            "Requests whose head was too large to read",
            self.oversized_heads.clone(),
        );
        self.multiplexed.register(r);
        r.register(
            "client_limit_connections",
            "Connections closed because their client already had too many",
            self.client_limit.clone(),
        );
        r.register("access_log_dropped", "Access log records lost", self.log_dropped.clone());
        r.register(
            "log_lines_dropped",
            "Log lines dropped because standard error was blocked",
            self.log_lines_dropped.clone(),
        );
        r.register_with_unit(
            "worker_lag",
            "How late workers begin what is due, ten times a second",
            Unit::Seconds,
            self.worker_lag.clone(),
        );
        r.register_collector(Box::new(self.snapshot.clone()));
        r.register("purges", "Purges applied", self.purges.clone());
        self.configuration.register(r);
    }

    /// Records how late a worker began what was due.
    pub fn worker_was_late(&self, lag: Duration) {
        self.worker_lag.observe(lag.as_secs_f64());
    }

    /// Records an address that accepts viewers.
    pub fn listens_on(&self, address: SocketAddr) {
        self.listening.get_or_create(&AddressLabel { address: address.to_string() }).set(1);
    }

    /// Metrics that only some configurations have.
    fn registered<M: Default>(&self, register: impl FnOnce(&M, &mut Registry)) -> M {
        let metrics = M::default();
        register(&metrics, self.registry.lock().sub_registry_with_prefix(PREFIX));
        metrics
    }

    /// The metrics of the disk cache. Only a Forebay that has one reports them.
    #[must_use]
    pub fn disk(&self) -> DiskMetrics {
        self.registered(DiskMetrics::register)
    }

    /// The metrics of automatic certificates. Only a Forebay that obtains some reports them.
    #[must_use]
    pub(crate) fn acme(&self) -> AcmeMetrics {
        self.registered(AcmeMetrics::register)
    }

    /// The metrics of traces. Only a Forebay that sends some reports them.
    #[must_use]
    pub(crate) fn traces(&self) -> TraceMetrics {
        self.registered(TraceMetrics::register)
    }

    /// The metrics of the delivery of access logs. Only a Forebay that delivers some reports them.
    #[must_use]
    pub(crate) fn delivery(&self) -> DeliveryMetrics {
        self.registered(DeliveryMetrics::register)
    }

    /// The metrics of a cluster. Only a node of one reports them.
    #[must_use]
    pub(crate) fn cluster(&self) -> ClusterMetrics {
        self.registered(ClusterMetrics::register)
    }

    /// The metrics of the objects that nodes request from each other.
    #[must_use]
    pub(crate) fn peers(&self) -> PeerMetrics {
        self.registered(PeerMetrics::register)
    }

    /// The counters of one distribution.
    #[must_use]
    pub fn distribution(&self, id: &str) -> Arc<Served> {
        self.served.of(id)
    }

    /// What was counted of each distribution until now.
    #[must_use]
    pub fn totals(&self) -> Vec<(String, Totals)> {
        self.served.totals()
    }

    /// The handles for one origin.
    #[must_use]
    pub fn origin(&self, distribution: &str, origin: &str) -> OriginMetrics {
        self.origins.of(distribution, origin)
    }

    /// The counter of one origin group's failovers.
    #[must_use]
    pub fn failovers(&self, distribution: &str, group: &str) -> Counter {
        self.origins.failovers(distribution, group)
    }

    /// Counts a compressed content.
    pub fn compressed(&self, coding: &'static str) {
        self.compressed.get_or_create(&CodingLabel { coding }).inc();
    }

    /// Counts a request refused before any lookup or fetch.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a failed TLS handshake.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.handshake_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts purges.
    pub fn purged(&self, purges: usize) {
        self.purges.inc_by(purges as u64);
    }

    /// All families as text in the OpenMetrics format.
    #[must_use]
    pub fn render(&self, snapshot: Snapshot) -> String {
        self.snapshot.set(snapshot);
        self.log_lines_dropped.inner().store(log::dropped(), Ordering::Relaxed);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry.lock());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_rendered_with_help_and_labels() {
        let metrics = Metrics::new();
        let media = metrics.distribution("media");
        media.answered(&Answered {
            result: ResultType::Hit,
            status: 206,
            bytes: 10,
            duration: Duration::from_millis(2),
            is_collapsed: true,
            stale: Some(StaleReason::OriginError),
        });
        let bucket = metrics.origin("media", "bucket");
        bucket.error("origin-dns");
        bucket.answered(503, Duration::from_millis(2));
        let text = metrics.render(Snapshot {
            cache_bytes: 5,
            cache_evictions: 1,
            heartbeat_ages: vec![Duration::from_millis(500)],
            credentials_expiry: Some(2_000_000_000),
            ..Snapshot::default()
        });
        for line in [
            "# HELP forebay_requests Requests answered.",
            "forebay_requests_total{distribution=\"media\",result=\"Hit\",status=\"2xx\"} 1",
            "forebay_sent_bytes_total{distribution=\"media\",result=\"Hit\"} 10",
            "forebay_request_duration_seconds_bucket{le=\"0.0025\",distribution=\"media\",result=\"Hit\"} 1",
            "forebay_request_duration_seconds_bucket{le=\"+Inf\",distribution=\"media\",result=\"Hit\"} 1",
            "forebay_request_duration_seconds_sum{distribution=\"media\",result=\"Hit\"} 0.002",
            "forebay_origin_errors_total{distribution=\"media\",origin=\"bucket\",class=\"origin-dns\"} 1",
            "forebay_origin_requests_total{distribution=\"media\",origin=\"bucket\",status=\"5xx\"} 1",
            "forebay_origin_requests_total{distribution=\"media\",origin=\"bucket\",status=\"2xx\"} 0",
            "forebay_worker_lag_seconds_count 0",
            "forebay_collapsed_requests_total{distribution=\"media\"} 1",
            "forebay_stale_responses_total{distribution=\"media\",reason=\"origin-error\"} 1",
            "forebay_stale_responses_total{distribution=\"media\",reason=\"allowed\"} 0",
            "forebay_worker_heartbeat_age_seconds{worker=\"0\"} 0.5",
            "forebay_credentials_expiry_timestamp_seconds 2000000000",
            "forebay_access_log_queue_bytes 0",
            "forebay_cache_bytes 5",
            "forebay_cache_evictions_total 1",
            "forebay_build_info{version=\"",
            "# TYPE process_cpu_seconds counter",
            "# TYPE process_start_time_seconds gauge",
            "# TYPE process_resident_memory_bytes gauge",
            "# TYPE process_open_fds gauge",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
