//! The span of an exchange with another node of the cluster, which requests an object.

use std::sync::Arc;

use http::Method;

use super::{Trace, otlp, timed::Timed};
use crate::base::clock::Timestamp;

/// The span of an exchange in progress. If it is dropped before it has ended, the other node has left.
pub(crate) struct PeerSpan {
    trace: Arc<Trace>,
    time: Timed,
    method: Method,
    path: String,
    status: Option<u16>,
}

impl PeerSpan {
    /// Begins the span of a request.
    pub(crate) fn begin(trace: Arc<Trace>, at: Timestamp, method: &Method, path: &str) -> Self {
        let (method, path) = (method.clone(), path.to_owned());
        Self { trace, time: Timed::begin(at), method, path, status: None }
    }

    /// The trace that it belongs to.
    pub(crate) const fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }

    /// Ends the span when the head of the response is ready.
    pub(crate) fn end(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for PeerSpan {
    fn drop(&mut self) {
        let (method, path, status) = (&self.method, &self.path, self.status);
        let time = self.time;
        let ids = &self.trace.ids;
        self.trace.queue.push(|| otlp::of_peer(ids, (method, path), time.end(), status));
    }
}
