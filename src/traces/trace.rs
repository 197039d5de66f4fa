//! A traced request.

use std::sync::Arc;

use super::{
    ClientSpan, RequestTarget, context::Parent, ids::SpanIds, otlp, span_queue::SpanQueue,
    timed::Timed,
};
use crate::{access_log::Record, base::clock::Timestamp};

/// A traced request: the span of its exchange.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(super) queue: Arc<SpanQueue>,
    pub(super) ids: SpanIds,
    to_origins: bool,
}

impl Trace {
    /// A trace that begins with this request, or continues that of `parent`.
    pub(super) fn new(
        queue: &Arc<SpanQueue>,
        to_origins: bool,
        parent: Option<Parent>,
    ) -> Arc<Self> {
        let ids = parent.map_or_else(SpanIds::root, SpanIds::after);
        Arc::new(Self { queue: Arc::clone(queue), ids, to_origins })
    }

    /// Begins the span of a request that this one causes.
    pub(crate) fn begin_request(&self, at: Timestamp, target: RequestTarget) -> ClientSpan {
        let queue = Arc::clone(&self.queue);
        ClientSpan::new(queue, self.ids.child(), Timed::begin(at), self.to_origins, target)
    }

    /// Ends the span of an exchange with a viewer.
    pub(crate) fn end(&self, record: &Record<'_>) {
        self.queue.push(|| otlp::of_viewer(&self.ids, record));
    }
}
