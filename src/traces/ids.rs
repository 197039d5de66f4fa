//! The ids of spans.

use http::HeaderValue;

use super::context::{Parent, SAMPLED};

/// The ids of a span, and what connects it with others.
#[derive(Clone, Debug)]
pub(super) struct SpanIds {
    pub(super) trace: u128,
    pub(super) span: u64,
    /// The span that caused it.
    pub(super) parent: Option<u64>,
    /// Whether that is a span of another server.
    pub(super) has_remote_parent: bool,
    /// The flags of the trace.
    pub(super) flags: u8,
    /// The fields of other tracing systems, which are passed on.
    pub(super) state: Option<HeaderValue>,
}

impl SpanIds {
    /// A span that begins a trace.
    pub(super) fn root() -> Self {
        Self {
            trace: fastrand::u128(1..),
            span: new_span(),
            parent: None,
            has_remote_parent: false,
            flags: SAMPLED,
            state: None,
        }
    }

    /// A span that another server caused.
    pub(super) fn after(parent: Parent) -> Self {
        Self {
            trace: parent.trace,
            span: new_span(),
            parent: Some(parent.span),
            has_remote_parent: true,
            flags: parent.flags,
            state: parent.state,
        }
    }

    /// A span that this one causes, on the same server.
    pub(super) fn child(&self) -> Self {
        let parent = Some(self.span);
        Self { span: new_span(), parent, has_remote_parent: false, ..self.clone() }
    }
}

fn new_span() -> u64 {
    fastrand::u64(1..)
}
