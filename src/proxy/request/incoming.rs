//! An incoming request: the input of admission.

use std::sync::Arc;

use http::{HeaderValue, request::Parts};

use super::{
    connection::Connection,
    routing::Rules,
    staging::{Selection, Side},
    viewer::{self, Viewer, X_FORWARDED_FOR},
};
use crate::{
    base::clock::Timestamp, http::authority::head_length, proxy::response::identity::RequestId,
    traces::Trace,
};

/// A request with its connection, its viewer and its time of arrival.
pub(crate) struct IncomingRequest {
    pub(crate) id: RequestId,
    pub(crate) connection: Arc<Connection>,
    pub(crate) viewer: Viewer,
    /// Length of the head in bytes, as the viewer sent it.
    pub(crate) head_length: usize,
    pub(crate) at: Timestamp,
    pub(crate) request: Parts,
    /// Whether the edge added headers that describe the viewer.
    pub(crate) is_described: bool,
    /// The viewer's `X-Forwarded-For`, before the edge changed it.
    pub(crate) forwarded_for: Option<HeaderValue>,
    /// Whether the request counts against rate limits.
    pub(crate) counts: bool,
    /// The configuration that serves it.
    pub(crate) side: Side,
    /// Its trace, if it is traced. That is decided when its exchange begins.
    pub(crate) trace: Option<Arc<Trace>>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is served.
    Serve,
    /// It is only explained.
    Explain,
}

impl IncomingRequest {
    pub(crate) fn new(
        rules: &Rules,
        connection: &Arc<Connection>,
        mut request: Parts,
        at: Timestamp,
        purpose: Purpose,
    ) -> Self {
        let viewer = Viewer::of(&rules.trusted_proxies, connection, &request.headers);
        // Measure the head before adding headers.
        let head_length = head_length(&request);
        let staging = rules.staging.as_ref();
        let side = staging.map(|staging| {
            let selection = match purpose {
                Purpose::Serve => Selection::Full { https: viewer.https },
                Purpose::Explain => Selection::WithoutChance,
            };
            staging.select(&request.headers, at, selection)
        });
        let side = side.unwrap_or_default();
        let is_described = rules.describe_viewers(&side, &request);
        let forwarded_for =
            is_described.then(|| request.headers.get(X_FORWARDED_FOR).cloned()).flatten();
        if is_described {
            let version = request.version;
            viewer::describe(&mut request.headers, &viewer, connection, version, rules);
        }
        Self {
            id: RequestId::random(),
            connection: Arc::clone(connection),
            viewer,
            head_length,
            at,
            request,
            is_described,
            forwarded_for,
            counts: purpose == Purpose::Serve,
            side,
            trace: None,
        }
    }
}
