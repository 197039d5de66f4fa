//! What a response headers policy makes of the fields of an answer.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header, request::Parts};

use crate::behavior::{Behavior, ResponseHeadersPolicy};

/// A policy, and what it wants to know of a request.
pub(super) struct Dress {
    policy: Arc<ResponseHeadersPolicy>,
    /// The site whose page asks.
    origin: Option<HeaderValue>,
    preflight: bool,
}

impl Dress {
    pub(super) fn of(behavior: &Behavior, request: &Parts) -> Option<Self> {
        let policy = Arc::clone(behavior.response_headers.as_ref()?);
        let origin = request.headers.get(header::ORIGIN).cloned();
        Some(Self { policy, origin, preflight: is_preflight(request) })
    }

    pub(super) fn put_on(&self, fields: &mut HeaderMap) {
        self.policy.apply(fields, self.origin.as_ref(), self.preflight);
    }
}

/// Whether a browser asks what a page of another site may do (Fetch §3.3.2). That is answered here,
/// whatever methods a behavior allows: the origin knows less of it than the policy.
pub(super) fn is_answered_preflight(behavior: &Behavior, request: &Parts) -> bool {
    let policy = behavior.response_headers.as_ref();
    policy.is_some_and(|policy| policy.cors.is_some()) && is_preflight(request)
}

fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(header::ORIGIN)
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}
