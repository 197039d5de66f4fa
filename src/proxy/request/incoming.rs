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

impl IncomingRequest {
    pub(crate) fn new(
        rules: &Rules,
        connection: &Arc<Connection>,
        request: Parts,
        at: Timestamp,
    ) -> Self {
        let viewer = Viewer::of(&rules.trusted_proxies, connection, &request.headers);
        let selection = Selection::Full { https: viewer.https };
        Self::on_side(rules, connection, (request, viewer), at, selection)
    }

    /// A request that is explained, not served.
    pub(crate) fn to_explain(
        rules: &Rules,
        connection: &Arc<Connection>,
        request: Parts,
        at: Timestamp,
    ) -> Self {
        let viewer = Viewer::of(&rules.trusted_proxies, connection, &request.headers);
        let selection = Selection::WithoutChance;
        let incoming = Self::on_side(rules, connection, (request, viewer), at, selection);
        Self { counts: false, ..incoming }
    }

    fn on_side(
        rules: &Rules,
        connection: &Arc<Connection>,
        (mut request, viewer): (Parts, Viewer),
        at: Timestamp,
        selection: Selection,
    ) -> Self {
        // Measure the head before adding headers.
        let head_length = head_length(&request);
        let staging = rules.staging.as_ref();
        let side = staging.map(|staging| staging.select(&request.headers, at, selection));
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
            counts: true,
            side,
            trace: None,
        }
    }
}
