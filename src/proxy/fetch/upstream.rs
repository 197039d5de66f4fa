//! Where the responses of a fetch come from: the origin, or the node of the cluster that owns the object.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{
    behavior::Behavior,
    cache::{
        key::{CanonicalPath, Projection},
        policy::RequestDirectives,
        store::FetchError,
    },
    http::{body::Body, date},
    origin::{Group, OnInterim, OriginRequest, OriginResponse, Reply, Subject},
    peers::PeerObject,
    proxy::{
        context::Edge,
        request::{admission::AdmittedRequest, rejection::is_error},
        response::identity::RequestId,
    },
    traces::Trace,
};

/// The longest wait for an answer of the owner. Then the origin is asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the responses of a fetch come from, and the parts of its requests that are always the same.
pub(crate) struct Upstream {
    pub(crate) edge: Arc<Edge>,
    pub(crate) origin: Arc<Group>,
    pub(crate) behavior: Arc<Behavior>,
    path: CanonicalPath<'static>,
    pub(crate) projection: Projection<'static>,
    /// The header with the id of the request that caused the fetch.
    id_field: Option<(HeaderName, HeaderValue)>,
    /// The id of the viewer's request, for the log.
    id: Option<Box<str>>,
    /// Receives interim responses, while a viewer waits for this response.
    pub(crate) on_interim: Option<OnInterim>,
    /// The trace of the viewer's request, if that is traced.
    trace: Option<Arc<Trace>>,
    /// The object, if another node may have it.
    object: Option<PeerObject>,
}

impl Upstream {
    pub(crate) fn new(edge: &Arc<Edge>, admitted: &AdmittedRequest<'_>) -> Self {
        Self {
            edge: Arc::clone(edge),
            origin: Arc::clone(admitted.origin()),
            behavior: Arc::clone(admitted.behavior),
            path: admitted.path.clone().into_owned(),
            projection: admitted.forwarded().into_owned(),
            id_field: admitted.id_field(),
            id: admitted.id_text(),
            on_interim: None,
            trace: admitted.trace.cloned(),
            object: edge.peers.is_some().then(|| peer_object(edge, admitted)).flatten(),
        }
    }

    /// Sends a request with these fields, to the owner of the object or to the origin.
    pub(crate) async fn send(
        &self,
        method: Method,
        mut fields: HeaderMap,
    ) -> Result<OriginResponse, FetchError> {
        fields.extend(self.id_field.clone());
        let request = OriginRequest {
            method,
            path: &self.path,
            projection: &self.projection,
            fields,
            client: None,
            id: self.id.clone(),
            on_interim: self.on_interim.clone(),
            trace: self.trace.clone(),
        };
        if let Some(answer) = Box::pin(self.ask_owner(&request)).await {
            return Ok(answer);
        }
        self.edge.ask_origin(&self.origin, &self.behavior, request, None).await
    }

    async fn ask_owner(&self, request: &OriginRequest<'_>) -> Option<OriginResponse> {
        let (peers, object) = self.edge.peers.as_ref().zip(self.object.as_ref())?;
        let patience = self.origin.primary().options().response_timeout.min(PATIENCE);
        let answer = peers.ask(object, request, patience).await?;
        let answer = Some(answer).filter(|answer| !is_doubtful(answer, request))?;
        Some(self.origin.primary().continue_from(answer, request))
    }
}

/// Whether the origin must confirm an answer of a peer: it contradicts what this node has, and may be the older one.
fn is_doubtful(answer: &OriginResponse, request: &OriginRequest<'_>) -> bool {
    let asked = |name: HeaderName| request.fields.get(name);
    let validates = asked(header::IF_NONE_MATCH).or(asked(header::IF_MODIFIED_SINCE)).is_some();
    let date = |value: Option<&HeaderValue>| value.and_then(|value| date::parse(value.as_bytes()));
    let known = date(asked(header::IF_MODIFIED_SINCE));
    let is_older = known > date(answer.fields.get(header::LAST_MODIFIED)).or(known);
    let is_other = asked(header::IF_MATCH).is_some_and(|tag| {
        !answer.status.is_success() || answer.fields.get(header::ETAG) != Some(tag)
    });
    is_other || is_older || (validates && is_error(answer.status))
}

/// The object of a request, if another node may answer it.
fn peer_object(edge: &Edge, admitted: &AdmittedRequest<'_>) -> Option<PeerObject> {
    let is_read = matches!(*admitted.method, Method::GET | Method::HEAD);
    // Another node does not know what viewers changed through this one.
    let is_read_only = !admitted.behavior.allowed_methods.allow_changes();
    // The viewer may want the answer of the origin.
    let is_plain = admitted.directives() == RequestDirectives::default();
    let is_cached = !admitted.behavior.cache_policy.caching.ttl.is_disabled();
    let id = &admitted.distribution.settings.id;
    let was_changed = || edge.store.was_invalidated(id, &admitted.path.generous());
    let may_ask = !admitted.is_of_peer && is_cached && is_read && is_read_only && is_plain;
    (may_ask && !was_changed()).then(|| {
        let id = admitted.id.and_then(RequestId::to_value);
        let rules = admitted.rules.for_peer(admitted.distribution, admitted.behavior);
        let (distribution, key) = (&admitted.distribution.settings.id, admitted.key());
        PeerObject::new(distribution, admitted.host, &admitted.path, &key, id, rules)
    })
}

impl Edge {
    /// The node of the cluster that fetches the object of a request from the origin for the others.
    pub(crate) fn owner(&self, admitted: &AdmittedRequest<'_>) -> Option<String> {
        let peers = self.peers.as_ref().filter(|peers| peers.cluster().has_lease())?;
        peer_object(self, admitted).map(|object| peers.owner_name(&object))
    }

    /// Sends a request to an origin group. Errors are logged; the viewer gets the failure.
    pub(crate) async fn ask_origin(
        &self,
        group: &Group,
        behavior: &Behavior,
        request: OriginRequest<'_>,
        body: Option<Body>,
    ) -> Result<OriginResponse, FetchError> {
        let is_about_object = request.method != Method::OPTIONS;
        let Reply { answer, by, passed_over } = group.send(&request, body).await;
        let subject = Subject::of(&request);
        if let Some((origin, error)) = passed_over {
            origin.log_error(&subject, &error);
        }
        let mut answer = answer.map_err(|error| by.log_error(&subject, &error))?;
        if !behavior.forwards_cookies() {
            answer.fields.remove(header::SET_COOKIE);
        }
        if answer.bucket && answer.status == StatusCode::FORBIDDEN && is_about_object {
            by.log_denial(&subject);
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::clock::Timestamp, cache::store::CacheTags, origin::FromPeer, outbound::Timing,
    };

    /// Whether an answer with this status and these fields is doubtful for a request with those.
    fn doubts(
        asked: &[(HeaderName, &'static str)],
        status: u16,
        got: &[(HeaderName, &'static str)],
    ) -> bool {
        let map = |fields: &[(HeaderName, &'static str)]| -> HeaderMap {
            let values = fields.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v)));
            values.collect()
        };
        let mut message = http::Response::new(());
        *message.status_mut() = StatusCode::from_u16(status).expect("a status");
        *message.headers_mut() = map(got);
        let at = Timestamp::from_secs(1);
        let peer = FromPeer { is_hit: true, fresh_for: None };
        let times = (at, at, Timing::default());
        let facts = (false, CacheTags::default());
        let answer =
            OriginResponse::of_peer(message.into_parts().0, Body::empty(), times, facts, peer);
        let request = OriginRequest {
            method: Method::GET,
            path: &CanonicalPath::of_key("a"),
            projection: &Projection::default(),
            fields: map(asked),
            client: None,
            id: None,
            on_interim: None,
            trace: None,
        };
        is_doubtful(&answer, &request)
    }

    #[test]
    fn answers_that_contradict_what_is_known_are_doubtful() {
        const OLD: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
        const NEW: &str = "Fri, 02 Jan 2026 00:00:00 GMT";
        let validates = [(header::IF_NONE_MATCH, "\"2\""), (header::IF_MODIFIED_SINCE, NEW)];
        let version = [(header::IF_MATCH, "\"2\"")];
        for (asked, status, got, expected) in [
            (&[][..], 200, &[][..], false),
            (&[], 404, &[], false),
            (&validates, 304, &[(header::ETAG, "\"2\"")], false),
            (&validates, 200, &[(header::ETAG, "\"3\""), (header::LAST_MODIFIED, NEW)], false),
            (&validates, 200, &[(header::ETAG, "\"1\""), (header::LAST_MODIFIED, OLD)], true),
            (&validates, 403, &[], true),
            (&version, 206, &[(header::ETAG, "\"2\"")], false),
            (&version, 206, &[(header::ETAG, "\"1\"")], true),
            (&version, 412, &[], true),
        ] {
            assert_eq!(doubts(asked, status, got), expected, "{asked:?} {status} {got:?}");
        }
    }
}
