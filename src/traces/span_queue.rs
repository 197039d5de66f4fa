//! Spans that have ended and wait to be sent.

use std::{collections::VecDeque, fmt};

use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::metrics::{SpanLoss, TraceMetrics};

/// The most spans that wait to be sent. Further ones are lost and counted.
const MOST: usize = 4096;

/// The number of spans that are sent at once.
pub(super) const BATCH: usize = 512;

/// Spans that have ended and wait to be sent.
#[derive(Default)]
pub(crate) struct SpanQueue {
    waiting: Mutex<VecDeque<Span>>,
    /// Notified when there are enough spans for a batch.
    pub(super) enough: Notify,
    pub(super) metrics: TraceMetrics,
}

impl SpanQueue {
    pub(super) fn new(metrics: TraceMetrics) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// Adds a span, which is not made if it does not fit. Never waits for the collector.
    pub(super) fn push(&self, span: impl FnOnce() -> Span) {
        if self.waiting.lock().len() >= MOST {
            self.metrics.lost(SpanLoss::QueueFull, 1);
            return;
        }
        let span = span();
        let mut waiting = self.waiting.lock();
        waiting.push_back(span);
        let is_enough = waiting.len().is_multiple_of(BATCH);
        drop(waiting);
        if is_enough {
            self.enough.notify_one();
        }
    }

    /// Takes the oldest spans, at most a batch.
    pub(super) fn take(&self) -> Vec<Span> {
        let mut waiting = self.waiting.lock();
        let most = waiting.len().min(BATCH);
        waiting.drain(..most).collect()
    }
}

impl fmt::Debug for SpanQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanQueue").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::metrics::{Metrics, Snapshot};

    #[test]
    fn what_does_not_fit_is_lost_and_counted() {
        let metrics = Metrics::new();
        let queue = SpanQueue::new(metrics.traces());
        for _ in 0..MOST + 7 {
            queue.push(Span::default);
        }
        let text = metrics.render(Snapshot::default());
        assert!(text.contains("forebay_trace_spans_lost_total{reason=\"queue-full\"} 7"), "{text}");
        let batches = std::iter::repeat_with(|| queue.take().len()).take_while(|taken| *taken > 0);
        assert_eq!(batches.sum::<usize>(), MOST);
    }
}
