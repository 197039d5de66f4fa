//! The span of a request to an origin or to another node.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    RequestTarget,
    context::{FieldNames, OF_PEERS, STANDARD, parent},
    ids::SpanIds,
    otlp,
    span_queue::SpanQueue,
    timed::Timed,
};

/// The span of a request in progress. If it is dropped before it has ended, the request was cancelled.
pub(crate) struct ClientSpan {
    pub(super) queue: Arc<SpanQueue>,
    pub(super) ids: SpanIds,
    pub(super) time: Timed,
    /// Whether origins get the fields by which they continue the trace.
    pub(super) to_origins: bool,
    pub(super) target: RequestTarget,
    /// The status of the response, if there is one.
    status: Option<u16>,
    failure: Option<&'static str>,
}

impl ClientSpan {
    pub(super) const fn new(
        queue: Arc<SpanQueue>,
        ids: SpanIds,
        time: Timed,
        to_origins: bool,
        target: RequestTarget,
    ) -> Self {
        Self { queue, ids, time, to_origins, target, status: None, failure: Some("cancelled") }
    }

    /// Adds the fields by which another node continues the trace.
    pub(crate) fn write_for_peer(&self, fields: &mut HeaderMap) {
        self.write(fields, OF_PEERS);
    }

    /// Adds the fields by which an origin continues the trace, if origins get them.
    pub(crate) fn write_for_origin(&self, fields: &mut HeaderMap) {
        if self.to_origins {
            self.write(fields, STANDARD);
        }
    }

    fn write(&self, fields: &mut HeaderMap, names: FieldNames) {
        fields.remove(&names.state);
        if let Some(parent) = parent(self.ids.trace, self.ids.span, self.ids.flags) {
            fields.insert(names.parent, parent);
            fields.extend(self.ids.state.clone().map(|state| (names.state, state)));
        }
    }

    /// Ends the span when the head of the response has arrived, or when the request has failed. A failed request may have
    /// got a response.
    pub(crate) fn end(mut self, status: Option<u16>, failure: Option<&'static str>) {
        (self.status, self.failure) = (status, failure);
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        let outcome = (self.status, self.failure);
        self.queue.push(|| otlp::of_request(&self.ids, &self.target, self.time.end(), outcome));
    }
}
