//! Requests of viewers, and of certificate authorities that look for a proof.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, header, request::Parts};

use super::{Handler, Refused};
use crate::{
    http::body::Body,
    proxy::{Connection, Decided, Edge, FastHit},
    tls::Challenges,
};

/// Answers viewers.
#[derive(Clone)]
pub(crate) struct ViewerHandler {
    edge: Arc<Edge>,
    challenges: Arc<Challenges>,
}

impl ViewerHandler {
    pub(crate) const fn new(edge: Arc<Edge>, challenges: Arc<Challenges>) -> Self {
        Self { edge, challenges }
    }

    /// The proof that a certificate authority requests (RFC 8555 §8.3). It is the same for every host, and takes
    /// precedence over all that a distribution does with the request.
    fn proof(&self, request: &Request<Body>) -> Option<Ready<Response<Body>>> {
        let path = request.uri().path();
        if !self.challenges.may_be_at(path) || request.method() != Method::GET {
            return None;
        }
        let content = self.challenges.content(path)?;
        let mut response = Response::new(Body::full(content.into()));
        let media_type = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        Some(ready(response))
    }
}

impl Handler for ViewerHandler {
    type Decided = Decided;

    fn for_thread(&self) -> Self {
        Self { edge: Edge::for_thread(&self.edge), challenges: Arc::clone(&self.challenges) }
    }

    fn handle(
        &self,
        request: Request<Body>,
        decided: Option<Decided>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        match self.proof(&request) {
            Some(proof) => Either::Left(proof),
            None => {
                Either::Right(Edge::handle(Arc::clone(&self.edge), request, decided, connection))
            }
        }
    }

    fn answer_fast(
        &self,
        request: Parts,
        connection: &Arc<Connection>,
        head: &mut Vec<u8>,
    ) -> Result<FastHit, Option<Decided>> {
        if self.challenges.may_be_at(request.uri.path()) {
            return Err(None);
        }
        Edge::answer_fast(&self.edge, request, connection, head).map_err(Some)
    }

    fn log_refused(&self, request: Parts, refused: Refused, connection: &Arc<Connection>) {
        Edge::log_refused(&self.edge, request, refused.status, refused.detail, connection);
    }
}
