//! Metrics of traces.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Why a span was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanLoss {
    /// Too many spans waited to be sent.
    QueueFull,
    /// The collector did not answer, or answered with an error.
    Unsent,
    /// The collector accepted others of the same batch.
    Rejected,
}

impl SpanLoss {
    const ALL: [Self; 3] = [Self::QueueFull, Self::Unsent, Self::Rejected];

    const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::Unsent => "unsent",
            Self::Rejected => "rejected",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LossLabel {
    reason: &'static str,
}

/// Metrics of traces.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceMetrics {
    exported: Counter,
    lost: Family<LossLabel, Counter>,
}

impl TraceMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "trace_spans_exported",
            "Spans that the collector accepted",
            self.exported.clone(),
        );
        registry.register("trace_spans_lost", "Spans lost, by reason", self.lost.clone());
        for loss in SpanLoss::ALL {
            self.lost(loss, 0);
        }
    }

    /// Counts spans that the collector accepted.
    pub(crate) fn exported(&self, spans: u64) {
        self.exported.inc_by(spans);
    }

    /// Counts spans that were lost.
    pub(crate) fn lost(&self, loss: SpanLoss, spans: u64) {
        self.lost.get_or_create(&LossLabel { reason: loss.name() }).inc_by(spans);
    }
}
