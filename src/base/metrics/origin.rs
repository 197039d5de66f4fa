//! Metrics of one origin.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OriginLabels {
    pub(super) distribution: String,
    pub(super) origin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OriginErrorLabels {
    distribution: String,
    origin: String,
    class: &'static str,
}

/// One origin's counters.
#[derive(Clone, Debug)]
pub struct OriginMetrics {
    pub(super) requests: Counter,
    pub(super) seconds: Histogram,
    pub(super) errors: Family<OriginErrorLabels, Counter>,
    pub(super) mass_denial: Gauge,
    pub(super) labels: OriginLabels,
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

    /// Counts a response whose head took this long.
    pub fn answered(&self, duration: Duration) {
        self.requests.inc();
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
