//! A request as it arrived: all that admission looks at.

use std::sync::Arc;

use http::{HeaderValue, request::Parts};

use super::{
    Connection, Rules,
    identity::RequestId,
    target::head_length,
    viewer::{self, Viewer, X_FORWARDED_FOR},
};
use crate::clock::Timestamp;

/// A request, whence it came and when.
pub(super) struct Arrival {
    pub(super) id: RequestId,
    pub(super) connection: Arc<Connection>,
    pub(super) viewer: Viewer,
    /// In bytes, as the viewer sent it.
    pub(super) head_length: usize,
    pub(super) at: Timestamp,
    pub(super) request: Parts,
    /// Whether the edge has added fields about the viewer.
    pub(super) is_described: bool,
    /// `X-Forwarded-For` as it was before.
    pub(super) forwarded_for: Option<HeaderValue>,
    /// Whether it counts where requests are limited.
    pub(super) counts: bool,
}

impl Arrival {
    pub(super) fn new(
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
