//! Metrics of the delivery of access logs.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

/// Metrics of the delivery of access logs to a bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryMetrics {
    delivered: Counter,
    lost: Counter,
    waiting: Gauge,
}

impl DeliveryMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "access_log_delivered",
            "Bytes of access log files that were delivered",
            Unit::Bytes,
            self.delivered.clone(),
        );
        registry.register(
            "access_log_lost_files",
            "Access log files that were removed because too many waited for their delivery",
            self.lost.clone(),
        );
        registry.register_with_unit(
            "access_log_waiting",
            "Bytes of access log files that wait for their delivery",
            Unit::Bytes,
            self.waiting.clone(),
        );
    }

    /// Counts a delivered file of this length.
    pub(crate) fn delivered(&self, length: u64) {
        self.delivered.inc_by(length);
    }

    /// Counts files that were removed.
    pub(crate) fn lost(&self, files: u64) {
        self.lost.inc_by(files);
    }

    /// Records the bytes of all waiting files.
    pub(crate) fn waiting(&self, bytes: u64) {
        self.waiting.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
