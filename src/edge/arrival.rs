//! A request as it arrived: all that admission looks at.

use std::sync::Arc;

use http::request::Parts;

use super::{
    Connection, Rules,
    admit::head_length,
    viewer::{self, Viewer},
};
use crate::clock::Timestamp;

/// A request, whence it came and when.
pub(super) struct Arrival {
    pub(super) connection: Arc<Connection>,
    pub(super) viewer: Viewer,
    /// In bytes, as the viewer sent it.
    pub(super) head_length: usize,
    pub(super) at: Timestamp,
    pub(super) request: Parts,
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
        if rules.describe_viewers(&request) {
            let version = request.version;
            viewer::describe(&mut request.headers, &viewer, connection, version, rules);
        }
        Self { connection: Arc::clone(connection), viewer, head_length, at, request }
    }
}
