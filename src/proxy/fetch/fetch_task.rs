//! A fetch: the origin request of a miss or a validation, and the handling of its response.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::sync::oneshot;

use super::{
    forwarded::Forwarded,
    received_range::{UnusableRange, partial},
    upstream::Upstream,
};
use crate::{
    cache::{
        key::CacheKey,
        policy::{NotStored, Received, RequestProperties, Storable, storable},
        store::{FetchError, Obligation, StoredResponse, VariantSlot},
    },
    http::{
        fields::names,
        range::{ByteRange, RangeRequest},
    },
    origin::{DENIED, Denial, OriginResponse, failure},
    outbound::ErrorClass,
    proxy::{
        context::Edge,
        request::{
            admission::AdmittedRequest,
            rejection::{self, is_error},
            variant_slot::variant_slot,
        },
    },
};

/// How long a hit-for-miss entry lasts after a response could not be stored.
pub(crate) const REMEMBER_UNSTORABLE: Duration = Duration::from_secs(10);

/// One origin request on behalf of all requests that wait for it.
pub(crate) struct Fetch {
    pub(crate) upstream: Upstream,
    /// GET; HEAD, if the viewer sent a HEAD and no content is stored; or OPTIONS for a preflight.
    method: Method,
    resource: CacheKey,
    /// Whether the origin sees more of the viewer's request than the cache key contains.
    beyond_key: bool,
    pub(crate) range: Option<ByteRange>,
    pub(crate) seen: Option<Arc<StoredResponse>>,
    pub(crate) obligation: Obligation,
    pub(crate) forward: oneshot::Sender<Forwarded>,
}

/// The conditions of an origin request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conditions {
    /// The validators of `seen`, if there is a stored response.
    OfSeen,
    None,
}

/// Whether the fetch is a HEAD: the viewer sent one, and no content is stored.
pub(crate) fn fetches_head(admitted: &AdmittedRequest<'_>, seen: Option<&StoredResponse>) -> bool {
    let has_content = seen.is_some_and(|seen| !seen.content_state.is_head_only());
    *admitted.method == Method::HEAD && !has_content
}

impl Fetch {
    pub(crate) fn new(
        edge: &Arc<Edge>,
        admitted: &AdmittedRequest<'_>,
        seen: Option<Arc<StoredResponse>>,
        obligation: Obligation,
        forward: oneshot::Sender<Forwarded>,
    ) -> Self {
        let is_head = fetches_head(admitted, seen.as_deref());
        let method = match *admitted.method {
            Method::OPTIONS => Method::OPTIONS,
            _ if is_head => Method::HEAD,
            _ => Method::GET,
        };
        // A stored HEAD cannot be validated by a GET: the 304 would have no content.
        let seen = seen.filter(|seen| is_head || !seen.content_state.is_head_only());
        let range = admitted.fields.get(header::RANGE).filter(|_| *admitted.method == Method::GET);
        let range = match RangeRequest::parse(range.map(HeaderValue::as_bytes)) {
            RangeRequest::Whole => None,
            RangeRequest::Single(range) => Some(range),
            // The others are fetched while the response streams, each with the slices it needs.
            RangeRequest::Several(ranges) => ranges.first().copied(),
        };
        Self {
            upstream: Upstream::new(edge, admitted),
            method,
            resource: admitted.key(),
            beyond_key: admitted.sends_more_than_key(),
            range,
            seen,
            obligation,
            forward,
        }
    }

    /// Sends the origin request, then settles the obligation.
    pub(crate) async fn run(self) {
        let sent = match self.send(self.range, Conditions::OfSeen).await {
            // The range is outside the object. Fetch the whole object to learn its length.
            Ok(answer) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                Box::pin(self.send(None, Conditions::OfSeen)).await
            }
            sent => sent,
        };
        if let (Ok(answer), Some(_)) = (&sent, &self.seen)
            && answer.bucket
            && answer.peer.is_none()
            && (answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED)
        {
            let (key, now) = (self.obligation.key(), self.upstream.edge.clock.now());
            self.upstream.origin.primary().note_allowed(key, now);
        }
        match sent {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => {
                Box::pin(self.freshen(answer)).await;
            }
            Ok(answer) => self.settle(answer).await,
            Err(failure) => self.fail(failure),
        }
    }

    pub(crate) async fn send(
        &self,
        range: Option<ByteRange>,
        conditions: Conditions,
    ) -> Result<OriginResponse, FetchError> {
        let mut fields = HeaderMap::new();
        if let Some(value) = range.and_then(|range| self.aligned(range)) {
            fields.insert(header::RANGE, value);
        }
        if let (Some(seen), Conditions::OfSeen, Method::GET) =
            (&self.seen, conditions, self.method.clone())
        {
            // RFC 9111 §4.3.1: send both validators if both exist.
            for (validator, condition) in [
                (header::ETAG, header::IF_NONE_MATCH),
                (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
            ] {
                if let Some(value) = seen.fields.get(&validator) {
                    fields.insert(condition, value);
                }
            }
        }
        self.upstream.send(self.method.clone(), fields).await
    }

    /// The range to request from the origin: whole slices, so that they can be stored.
    fn aligned(&self, range: ByteRange) -> Option<HeaderValue> {
        let slice = u64::from(self.upstream.edge.store.options().slice);
        let start_of = |at: u64| at / slice * slice;
        let end_of = |at: u64| start_of(at).saturating_add(slice - 1);
        let text = match range {
            ByteRange::FromTo(first, last) => format!("bytes={}-{}", start_of(first), end_of(last)),
            ByteRange::From(first) => format!("bytes={}-", start_of(first)),
            // The length is not known yet. The first slice reveals it.
            ByteRange::Last(_) => format!("bytes=0-{}", slice - 1),
        };
        HeaderValue::try_from(text).ok()
    }

    /// Handles a failed origin request: keeps the stale response if allowed, or fails the obligation.
    pub(crate) fn fail(self, failure: FetchError) {
        let now = self.upstream.edge.clock.now();
        if self.seen.as_ref().is_some_and(|seen| seen.freshness.serves_errors(now)) {
            return self.keep(failure, now);
        }
        // If this viewer's headers may have caused the failure, drop the obligation, so that each of the others
        // sends its own request.
        if !(self.beyond_key && rejection::may_be_caused_by_request(failure)) {
            self.obligation.fail(failure);
        }
        // The send fails if the viewer has disconnected.
        let _ = self.forward.send(Forwarded::Failed(failure));
    }

    /// Adds the names to `Vary` that earlier responses of the resource had and this one lacks.
    pub(crate) fn keep_variation(&self, status: StatusCode, response: &mut HeaderMap) {
        if is_error(status) || !self.upstream.behavior.cache_policy.caching.honor_vary {
            return;
        }
        let Some(known) = self.upstream.edge.store.known_variation(&self.resource) else { return };
        let named: Vec<HeaderName> =
            names(response, &header::VARY).filter_map(Result::ok).collect();
        for name in known.names().iter().filter(|name| !named.contains(name)) {
            response.append(header::VARY, HeaderValue::from(name.clone()));
        }
    }

    fn variant_slot(&self, response: &HeaderMap) -> VariantSlot {
        variant_slot(
            &self.upstream.behavior,
            self.resource.clone(),
            &self.upstream.projection,
            response,
        )
    }

    /// The slot of a response. An error concerns its own request, so it must not hide variants.
    pub(crate) fn place_of(&self, status: StatusCode, response: &HeaderMap) -> VariantSlot {
        let place = self.variant_slot(response);
        if place.variation.is_none() && is_error(status) {
            return VariantSlot { key: self.obligation.key().clone(), ..place };
        }
        place
    }

    pub(crate) fn decide(
        &self,
        status: StatusCode,
        fields: &HeaderMap,
        answer: &OriginResponse,
    ) -> Result<Storable, NotStored> {
        let policy = &self.upstream.behavior.cache_policy;
        // If it is in the key, each value has a separate copy.
        let keyed = policy.key.headers.contains(&header::AUTHORIZATION);
        let authorized =
            self.upstream.projection.headers.iter().any(|(n, _)| *n == header::AUTHORIZATION);
        let request = RequestProperties {
            authorization: authorized && !keyed,
            bucket: answer.bucket,
            beyond_key: self.beyond_key,
        };
        let received = Received {
            status,
            fields,
            requested_at: answer.requested_at,
            received_at: answer.received_at,
            request,
        };
        let mut storable = storable(&received, &policy.caching)?;
        // The minimum TTL was spent there, and a purge may have made it stale.
        if let Some(fresh_for) = answer.peer.and_then(|peer| peer.fresh_for) {
            storable.freshness.limit(answer.received_at + fresh_for);
        }
        Ok(storable)
    }

    pub(crate) async fn settle(self, answer: OriginResponse) {
        let now = self.upstream.edge.clock.now();
        if let Some(detail) = self.reason_to_keep(&answer, now) {
            return self.keep(FetchError { status: answer.status, detail }, now);
        }
        let is_denied = answer.bucket && answer.status == StatusCode::FORBIDDEN;
        if is_denied && self.method != Method::OPTIONS && self.has_good_copy() {
            match self.judge_denial(now) {
                Denial::OfObject => {}
                Denial::Undecided => return self.deny(),
                Denial::Mass(_) => return self.keep(DENIED, now),
            }
        }
        let storable = match self.decide(answer.status, &answer.fields, &answer) {
            Ok(storable) => storable,
            Err(reason) => return self.release(answer, reason),
        };
        if self.method == Method::HEAD {
            return self.store_head(answer, storable);
        }
        let partial = match partial(&answer) {
            Ok(partial) => partial,
            // Without the complete length, this part cannot be stored as slices.
            Err(UnusableRange::UnknownLength) => return self.release(answer, NotStored::Status),
            Err(UnusableRange::Malformed) => return self.fail(failure(ErrorClass::Other)),
        };
        let length = match &partial {
            Some(partial) => Some(partial.complete),
            None => http_body::Body::size_hint(&answer.body).exact(),
        };
        match length {
            Some(length) => self.store(answer, storable, partial, length).await,
            None => Box::pin(self.collect(answer, storable)).await,
        }
    }

    /// Releases the requests that wait for a response that will not be stored.
    pub(crate) fn give_up(self, why: NotStored) {
        self.obligation.release(why, self.upstream.edge.clock.now() + REMEMBER_UNSTORABLE);
    }

    /// Forwards the response to one viewer only. Every other request must fetch its own.
    pub(crate) fn release(self, answer: OriginResponse, reason: NotStored) {
        // A failing origin does not change the object: the stored response stays.
        let trouble =
            answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS;
        // One viewer's request may be the cause: others may still get stored responses.
        let own = reason == NotStored::Authorization
            || (reason == NotStored::Status && answer.status.is_client_error());
        // The response to a HEAD may lack the headers that make the response to a GET storable.
        if !trouble && !own && self.method != Method::HEAD {
            self.obligation.release(reason, self.upstream.edge.clock.now() + REMEMBER_UNSTORABLE);
        }
        // The request was aligned to our slices. The viewer's own range needs a separate request.
        let forwarded = match answer.status {
            StatusCode::PARTIAL_CONTENT => Forwarded::Alone,
            _ => Forwarded::Unstorable(Box::new(answer), reason),
        };
        let _ = self.forward.send(forwarded);
    }
}
