//! Metrics of one origin.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{latency, status_class::StatusClass};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginLabels {
    distribution: String,
    origin: String,
}

impl OriginLabels {
    fn new(distribution: &str, origin: &str) -> Self {
        Self { distribution: distribution.to_owned(), origin: origin.to_owned() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginStatusLabels {
    distribution: String,
    origin: String,
    status: StatusClass,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginErrorLabels {
    distribution: String,
    origin: String,
    class: &'static str,
}

/// The metrics of all origins.
#[derive(Debug)]
pub(super) struct AllOrigins {
    requests: Family<OriginStatusLabels, Counter>,
    errors: Family<OriginErrorLabels, Counter>,
    seconds: Family<OriginLabels, Histogram, fn() -> Histogram>,
    failovers: Family<OriginLabels, Counter>,
    mass_denials: Family<OriginLabels, Gauge>,
    tunnels: Family<OriginLabels, Gauge>,
}

impl Default for AllOrigins {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            errors: Family::default(),
            seconds: Family::new_with_constructor(latency),
            failovers: Family::default(),
            mass_denials: Family::default(),
            tunnels: Family::default(),
        }
    }
}

impl AllOrigins {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "origin_requests",
            "Responses from origins, by class of status",
            self.requests.clone(),
        );
        r.register("origin_errors", "Origin errors by cause", self.errors.clone());
        r.register_with_unit(
            "origin_duration",
            "Time from an origin request to the head of its response",
            Unit::Seconds,
            self.seconds.clone(),
        );
        r.register(
            "origin_failovers",
            "Requests that failed over to the secondary of an origin group",
            self.failovers.clone(),
        );
        r.register(
            "origin_mass_denial",
            "Whether a bucket denies most objects that it served before",
            self.mass_denials.clone(),
        );
        r.register(
            "origin_tunnels",
            "Open connections to origins that speak a protocol other than HTTP, such as WebSocket",
            self.tunnels.clone(),
        );
    }

    pub(super) fn of(&self, distribution: &str, origin: &str) -> OriginMetrics {
        let labels = OriginLabels::new(distribution, origin);
        let requests = StatusClass::ALL.map(|status| {
            let OriginLabels { distribution, origin } = labels.clone();
            self.requests.get_or_create_owned(&OriginStatusLabels { distribution, origin, status })
        });
        OriginMetrics {
            requests,
            seconds: self.seconds.get_or_create_owned(&labels),
            errors: self.errors.clone(),
            mass_denial: self.mass_denials.get_or_create_owned(&labels),
            tunnels: self.tunnels.get_or_create_owned(&labels),
            labels,
        }
    }

    pub(super) fn failovers(&self, distribution: &str, group: &str) -> Counter {
        self.failovers.get_or_create_owned(&OriginLabels::new(distribution, group))
    }
}

/// One origin's counters.
#[derive(Clone, Debug)]
pub struct OriginMetrics {
    requests: [Counter; StatusClass::COUNT],
    seconds: Histogram,
    errors: Family<OriginErrorLabels, Counter>,
    mass_denial: Gauge,
    /// Open connections that speak a protocol other than HTTP.
    pub(crate) tunnels: Gauge,
    labels: OriginLabels,
}

impl OriginMetrics {
    /// The id of the origin's distribution.
    #[must_use]
    pub fn distribution(&self) -> &str {
        &self.labels.distribution
    }

    /// Sets whether the origin denies most objects that it served before.
    pub fn mass_denial(&self, is_denying: bool) {
        self.mass_denial.set(i64::from(is_denying));
    }

    /// Counts a response with this status, whose head took this long.
    pub fn answered(&self, status: u16, duration: Duration) {
        self.requests[StatusClass::place(status)].inc();
        self.seconds.observe(duration.as_secs_f64());
    }

    /// Counts a failure by its cause, named by a token from a fixed set.
    pub fn error(&self, class: &'static str) {
        self.errors.get_or_create(&self.error_labels(class)).inc();
    }

    /// Exports the count of a cause from the start, so that alerts see its first increase.
    pub fn expect_error(&self, class: &'static str) {
        let _ = self.errors.get_or_create(&self.error_labels(class));
    }

    fn error_labels(&self, class: &'static str) -> OriginErrorLabels {
        let OriginLabels { distribution, origin } = self.labels.clone();
        OriginErrorLabels { distribution, origin, class }
    }
}
