//! A request as it arrived: all that admission looks at.

use std::sync::Arc;

use http::{HeaderValue, request::Parts};

use super::{
    connection::Connection,
    routing::Rules,
    viewer::{self, Viewer, X_FORWARDED_FOR},
};
use crate::{
    base::clock::Timestamp, http::authority::head_length, proxy::response::identity::RequestId,
};

/// A request, whence it came and when.
pub(crate) struct IncomingRequest {
    pub(crate) id: RequestId,
    pub(crate) connection: Arc<Connection>,
    pub(crate) viewer: Viewer,
    /// In bytes, as the viewer sent it.
    pub(crate) head_length: usize,
    pub(crate) at: Timestamp,
    pub(crate) request: Parts,
    /// Whether the edge has added fields about the viewer.
    pub(crate) is_described: bool,
    /// `X-Forwarded-For` as it was before.
    pub(crate) forwarded_for: Option<HeaderValue>,
    /// Whether it counts where requests are limited.
    pub(crate) counts: bool,
}

impl IncomingRequest {
    pub(crate) fn new(
        rules: &Rules,
        connection: &Arc<Connection>,
        mut request: Parts,
        at: Timestamp,
    ) -> Self {
        let viewer = Viewer::of(&rules.trusted_proxies, connection, &request.headers);
        // As the viewer sent it, before anything is added.
        let head_length = head_length(&request);
        let is_described = rules.describe_viewers(&request);
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
        }
    }
}
