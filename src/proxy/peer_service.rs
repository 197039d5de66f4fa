//! Answers to other nodes of the cluster, which fetch objects from this one.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, Response, request::Parts};

use super::{
    cache_plan::CachePlan,
    context::Edge,
    frames::FRAME,
    request::{
        admission::AdmittedRequest, connection::Connection, exchange_tracker::ExchangeState,
        rejection::is_error, routing::Distribution,
    },
    response::{
        identity::RequestId,
        proxy_response::{Head, ProxyResponse},
    },
};
use crate::{
    base::clock::Timestamp,
    cache::store::FetchError,
    http::{
        body::{Body, Observer},
        cache_status::CacheStatus,
    },
    origin::Origin,
    peers::{Answer, PeerObject, PeerRequest, Peers, key_digest, refusal},
    traces::{PeerSpan, Trace},
};

impl Edge {
    /// Answers a request of another node: with a stored response, or with one from the origin. It is refused unless this
    /// node knows as much about purges as the other one, and understands the request alike.
    pub(crate) async fn answer_peer(
        self: Arc<Self>,
        request: Request<Body>,
        connection: Arc<Connection>,
    ) -> Response<Body> {
        let mut exchange = Box::new(PeerExchange::begin(connection));
        let answer = self.answer_to_peer(request).await;
        exchange.awaits_bytes(false);
        answer.map(|body| body.in_frames(FRAME).observed(exchange))
    }

    async fn answer_to_peer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (mut parts, _) = request.into_parts();
        let tracer = self.tracer.as_ref();
        let trace = tracer.and_then(|tracer| tracer.begin_for_peer(&parts.headers));
        let (method, path) = (&parts.method, parts.uri.path());
        let span = trace.map(|trace| PeerSpan::begin(trace, self.clock.now(), method, path));
        let trace = span.as_ref().map(PeerSpan::trace);
        let response = self.response_to_peer(&mut parts, trace).await;
        if let Some(span) = span {
            span.end(response.status().as_u16());
        }
        response
    }

    async fn response_to_peer(
        self: &Arc<Self>,
        parts: &mut Parts,
        trace: Option<&Arc<Trace>>,
    ) -> Response<Body> {
        let Some(peers) = &self.peers else { return refusal() };
        let Some(asked) = PeerRequest::take(&mut parts.headers) else { return refusal() };
        let rules = self.rules.load_full();
        let Some(distribution) = rules.by_id(&asked.distribution) else { return refusal() };
        if !matches!(parts.method, Method::GET | Method::HEAD)
            || asked.configuration != peers.cluster().configuration()
            || !peers.cluster().has_applied(&asked.applied).await
        {
            return refusal();
        }
        let id = asked.id.as_ref().and_then(RequestId::from_value);
        let Some(admitted) =
            AdmittedRequest::of_peer(distribution, parts, id, asked.rules.as_ref())
        else {
            return refusal();
        };
        let admitted = AdmittedRequest { trace, ..admitted };
        if key_digest(&admitted.key()) != asked.key || is_asked(peers, distribution, &admitted) {
            return refusal();
        }
        let now = self.clock.now();
        let plan = self.plan(&admitted, now);
        if let CachePlan::Bypass(_) = plan {
            // The response cannot be shared.
            return refusal();
        }
        peers.metrics().answered.inc();
        match Box::pin(self.execute(&admitted, plan, &mut Body::empty(), now)).await {
            Ok(answer) => respond(answer, &admitted, self.clock.now()),
            Err(FetchError { status, .. }) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = status;
                Answer::Failed.write(response.headers_mut());
                response
            }
        }
    }
}

/// An exchange with another node, for the timeouts of the connection.
struct PeerExchange {
    connection: Arc<Connection>,
    state: ExchangeState,
}

impl PeerExchange {
    fn begin(connection: Arc<Connection>) -> Self {
        connection.exchanges.begin(ExchangeState::Awaiting);
        Self { connection, state: ExchangeState::Awaiting }
    }
}

impl Observer for PeerExchange {
    fn awaits_bytes(&mut self, awaits: bool) {
        let to = if awaits { ExchangeState::Awaiting } else { ExchangeState::Sending };
        self.connection.exchanges.change(&mut self.state, to);
    }

    fn ended(self: Box<Self>, _sent: u64, _complete: bool) {}
}

impl Drop for PeerExchange {
    fn drop(&mut self) {
        self.connection.exchanges.end(self.state);
    }
}

/// Whether this node waits for an answer of another one for the object.
fn is_asked(peers: &Peers, distribution: &Distribution, admitted: &AdmittedRequest<'_>) -> bool {
    peers.is_asking(&PeerObject::name_of(&distribution.settings.id, &admitted.path))
}

/// The message for a response, with the fields that the origin sent.
fn respond(
    answer: ProxyResponse,
    admitted: &AdmittedRequest<'_>,
    now: Timestamp,
) -> Response<Body> {
    let ProxyResponse { head, content, report, fetched, .. } = answer;
    let (status, body) = (head.status(), content.into_body(&head));
    let is_bucket = match head {
        Head::Page(..) => true,
        Head::Own(..) | Head::Stored(_) => {
            !is_error(status) && Origin::is_s3(admitted.origin().primary())
        }
    };
    let is_hit = report.status == CacheStatus::Hit;
    let (fields, tags) = match head {
        Head::Own(_, fields) | Head::Page(_, fields) => {
            (fields, fetched.map(|fetched| fetched.tags).unwrap_or_default())
        }
        Head::Stored(head) => {
            let mut fields = HeaderMap::new();
            head.write(&mut fields, &admitted.distribution.settings.identity, now);
            (fields, head.response.tags.clone())
        }
    };
    let is_head = *admitted.method == Method::HEAD;
    let mut response = Response::new(if is_head { Body::empty() } else { body });
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    let fresh_for = report.ttl.map(|ttl| Duration::from_secs(ttl.try_into().unwrap_or(0)));
    Answer::Response { is_hit, fresh_for, is_bucket, tags }.write(response.headers_mut());
    response
}
