//! Objects from other nodes of the cluster. The owner of an object fetches it from the origin, once for all nodes.
//!
//! Nodes speak HTTP/2 over TLS, and each proves that it belongs to the cluster (`tls/mutual.rs`). A request names the
//! object and what the asking node knows about purges (`peers/fields.rs`). It goes one hop: a node that answers a peer
//! asks the origin, never another peer.

mod asking;
mod connection;
mod fields;
mod object;
mod peer_rules;

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::time::{error::Elapsed, timeout};

use asking::{Asking, Claim};
use connection::{PeerConnection, PeerError, Permit};
pub(crate) use fields::{Answer, PeerRequest};
pub(crate) use object::{PeerObject, key_digest};
pub(crate) use peer_rules::PeerRules;

use crate::{
    base::{clock::Clock, metrics::PeerMetrics},
    cluster::{Cluster, Peer},
    http::body::Body,
    origin::{FromPeer, OriginRequest, OriginResponse},
    outbound::Timing,
    traces::{RequestTarget, Trace},
};

/// The other nodes of a cluster.
#[derive(Debug)]
pub(crate) struct Peers {
    cluster: Arc<Cluster>,
    tls: ArcSwap<ClientConfig>,
    connections: Mutex<HashMap<String, Arc<PeerConnection>>>,
    asking: Arc<Asking>,
    clock: Clock,
    metrics: PeerMetrics,
}

impl Peers {
    /// The nodes of `cluster`, reached with these settings.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        tls: Arc<ClientConfig>,
        clock: Clock,
        metrics: PeerMetrics,
    ) -> Self {
        Self {
            cluster,
            tls: ArcSwap::new(tls),
            connections: Mutex::default(),
            asking: Arc::default(),
            clock,
            metrics,
        }
    }

    /// Uses other certificates for new connections.
    pub(crate) fn set_tls(&self, tls: Arc<ClientConfig>) {
        self.tls.store(tls);
    }

    /// The name of the node that owns an object.
    pub(crate) fn owner_name(&self, object: &PeerObject) -> String {
        self.owner(object).map_or_else(|| self.cluster.node().to_owned(), |peer| peer.node)
    }

    /// The node that owns an object; `None` if it is this one.
    fn owner(&self, object: &PeerObject) -> Option<Peer> {
        let connections = self.connections.lock();
        let is_usable =
            |node: &str| connections.get(node).is_none_or(|connection| connection.is_usable());
        self.cluster.owner(object.name(), is_usable)
    }

    /// Requests an object from its owner. `None` if this node must ask the origin: it is the owner, or the owner gives no
    /// answer within `patience`.
    pub(crate) async fn ask(
        &self,
        object: &PeerObject,
        request: &OriginRequest<'_>,
        patience: Duration,
    ) -> Option<OriginResponse> {
        self.revive();
        let peer = self.owner(object)?;
        let applied = self.cluster.applied()?;
        let connection = self.connection(&peer);
        let permit = connection.permit()?;
        // Until the last byte has arrived: others may wait for it.
        let claim = self.asking.claim(object.name());
        let message = PeerRequest {
            distribution: object.distribution.to_string(),
            configuration: self.cluster.configuration(),
            applied,
            key: object.key.clone(),
            id: object.id.clone(),
            rules: object.rules.clone(),
        };
        let message = message.write(&object.host, request)?;
        let (requested_at, began) = (self.clock.now(), self.clock.uptime());
        let sent = self.send(&connection, &peer, message, request.trace.as_ref(), patience).await;
        let answered = match sent {
            Ok(Ok(received)) => received,
            Ok(Err(_)) => {
                self.metrics.failed.inc();
                return None;
            }
            Err(_) => return self.avoid(&connection),
        };
        let (mut parts, incoming) = answered.into_parts();
        match Answer::take(&mut parts.headers) {
            Some(Answer::Response { is_hit, fresh_for, is_bucket, tags }) => {
                let counter = if is_hit { &self.metrics.hits } else { &self.metrics.misses };
                counter.inc();
                let first_byte = self.clock.uptime().saturating_sub(began);
                let timing = Timing { first_byte, ..Timing::default() };
                Some(OriginResponse::of_peer(
                    parts,
                    content(incoming, (permit, claim)),
                    (requested_at, self.clock.now(), timing),
                    (is_bucket, tags),
                    FromPeer { is_hit, fresh_for },
                ))
            }
            Some(Answer::Failed) => self.avoid(&connection),
            Some(Answer::Refused) | None => {
                self.metrics.refused.inc();
                None
            }
        }
    }

    /// Sends a request to a peer, which must respond within `patience`. It has a span if the viewer's request is traced.
    async fn send(
        &self,
        connection: &PeerConnection,
        peer: &Peer,
        mut message: Request<Body>,
        trace: Option<&Arc<Trace>>,
        patience: Duration,
    ) -> Result<Result<Response<Incoming>, PeerError>, Elapsed> {
        let tls = self.tls.load_full();
        let Some(trace) = trace else {
            return timeout(patience, connection.send(&tls, message)).await;
        };
        let span = trace.begin_request(
            self.clock.now(),
            RequestTarget {
                method: message.method().clone(),
                is_tls: true,
                authority: peer.address.clone(),
                path: message.uri().path().to_owned(),
            },
        );
        span.write_for_peer(message.headers_mut());
        let sent = timeout(patience, connection.send(&tls, message)).await;
        match &sent {
            Ok(Ok(answered)) => span.end(Some(answered.status().as_u16()), None),
            Ok(Err(_)) => span.end(None, Some("peer-failed")),
            Err(_) => span.end(None, Some("peer-timeout")),
        }
        sent
    }

    /// Asks the peer for nothing else for a while: it cannot reach the origin, or is too slow.
    fn avoid(&self, connection: &PeerConnection) -> Option<OriginResponse> {
        self.metrics.failed.inc();
        connection.avoid();
        None
    }

    /// Whether a peer's request for an object can be answered: this node must not wait for an answer of a peer itself.
    pub(crate) fn is_asking(&self, object: &[u8]) -> bool {
        self.asking.contains(object)
    }

    /// This node's part in its cluster.
    pub(crate) const fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Counters.
    pub(crate) const fn metrics(&self) -> &PeerMetrics {
        &self.metrics
    }

    fn connection(&self, peer: &Peer) -> Arc<PeerConnection> {
        let mut connections = self.connections.lock();
        let known = connections.get(&peer.node).filter(|known| known.is_to(peer));
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let new = Arc::new(PeerConnection::new(peer.clone()));
        connections.insert(peer.node.clone(), Arc::clone(&new));
        new
    }

    /// Connects again to peers that did not answer, in the background. Forgets those that have left the cluster.
    fn revive(&self) {
        let mut connections = self.connections.lock();
        if !connections.values().any(|connection| connection.is_due()) {
            return;
        }
        connections.retain(|node, connection| connection.is_usable() || self.cluster.has(node));
        for connection in connections.values().filter(|connection| connection.is_due()) {
            let (connection, tls) = (Arc::clone(connection), self.tls.load_full());
            tokio::spawn(async move { connection.revive(&tls).await });
        }
    }
}

/// The content of a peer's response. `held` is dropped at its end.
fn content(incoming: Incoming, held: (Permit, Claim)) -> Body {
    let length = http_body::Body::size_hint(&incoming).exact();
    let parts = stream::try_unfold((incoming, held), |(mut incoming, held)| async move {
        loop {
            let Some(frame) = incoming.frame().await.transpose()? else { return Ok(None) };
            if let Ok(data) = frame.into_data() {
                return Ok(Some((data, (incoming, held))));
            }
        }
    });
    Body::stream(length, parts)
}

/// The answer to a request of a peer that this node does not answer.
pub(crate) fn refusal() -> Response<Body> {
    let mut refusal = Response::new(Body::empty());
    *refusal.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    Answer::Refused.write(refusal.headers_mut());
    refusal
}
