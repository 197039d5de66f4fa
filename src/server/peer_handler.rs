//! Requests of other nodes of the cluster.

use std::sync::Arc;

use http::{Request, Response};

use super::Handler;
use crate::{
    http::body::Body,
    proxy::{Connection, Edge},
};

/// Answers other nodes of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct PeerHandler(pub(crate) Arc<Edge>);

impl Handler for PeerHandler {
    type Decided = ();

    fn for_thread(&self) -> Self {
        Self(Edge::for_thread(&self.0))
    }

    fn handle(
        &self,
        request: Request<Body>,
        _decided: Option<()>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        Edge::answer_peer(Arc::clone(&self.0), request, Arc::clone(connection))
    }
}
