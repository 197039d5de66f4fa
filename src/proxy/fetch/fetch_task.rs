//! A fetch: the origin request of a miss or a validation, and what happens with its response.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::sync::oneshot;

use super::{
    forwarded::{Forwarded, How},
    received_range::{Received206, UnusableRange, partial},
};
use crate::{
    behavior::Behavior,
    cache::{
        key::{CacheKey, CanonicalPath, Projection},
        policy::{Asked, NotStored, Received, Storable, storable},
        store::{Content, FetchError, Obligation, StoredResponse, VariantSlot},
    },
    http::{
        body::Body,
        fields::names,
        range::{ByteRange, RangeRequest},
    },
    origin::{DENIED, Denial, Group, OriginRequest, OriginResponse, failure},
    outbound::ErrorClass,
    proxy::{
        context::Edge,
        request::{
            admission::AdmittedRequest,
            headers_policy::SERVER_TIMING,
            rejection::{self, is_error},
            variant_slot::variant_slot,
        },
    },
};

/// How long it is remembered that a key's answer could not be stored.
pub(crate) const REMEMBER_UNSTORABLE: Duration = Duration::from_secs(10);

/// The content of so many bytes mostly comes with its head, and then is stored and answered in one piece.
const SMALL: u64 = 64 << 10;

/// For so long it is waited for; what takes longer streams as it comes.
const WITH_HEAD: Duration = Duration::from_millis(10);

/// One origin request on behalf of all that wait for it.
pub(crate) struct Fetch {
    pub(crate) edge: Arc<Edge>,
    pub(crate) origin: Arc<Group>,
    pub(crate) behavior: Arc<Behavior>,
    resource: CacheKey,
    path: CanonicalPath<'static>,
    forwarded: Projection<'static>,
    /// The id of the request that led to this fetch.
    id_field: Option<(HeaderName, HeaderValue)>,
    /// Whether the origin sees more of the viewer's request than the cache key has.
    beyond_key: bool,
    pub(crate) range: Option<ByteRange>,
    pub(crate) seen: Option<Arc<StoredResponse>>,
    pub(crate) obligation: Obligation,
    pub(crate) told: oneshot::Sender<Forwarded>,
}

/// The conditions of an origin request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conditions {
    /// Whether what was seen still holds, if anything was.
    OfSeen,
    None,
}

impl Fetch {
    pub(crate) fn new(
        edge: &Arc<Edge>,
        admitted: &AdmittedRequest<'_>,
        seen: Option<Arc<StoredResponse>>,
        obligation: Obligation,
        told: oneshot::Sender<Forwarded>,
    ) -> Self {
        let range = admitted.fields.get(header::RANGE).filter(|_| *admitted.method == Method::GET);
        let range = match RangeRequest::parse(range.map(HeaderValue::as_bytes)) {
            RangeRequest::Whole => None,
            RangeRequest::Single(range) => Some(range),
            // The others are fetched once the answer is under way, each with the slices it needs.
            RangeRequest::Several(ranges) => ranges.first().copied(),
        };
        Self {
            edge: Arc::clone(edge),
            origin: Arc::clone(admitted.origin()),
            behavior: Arc::clone(admitted.behavior),
            resource: admitted.key(),
            path: admitted.path.clone().into_owned(),
            forwarded: admitted.forwarded().into_owned(),
            id_field: admitted.id_field(),
            beyond_key: admitted.sends_more_than_key(),
            range,
            seen,
            obligation,
            told,
        }
    }

    /// Asks, then settles the obligation one way or another.
    pub(crate) async fn run(self) {
        let sent = match self.send(self.range, Conditions::OfSeen).await {
            // The range lies outside the object: the whole tells its length.
            Ok(answer) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                Box::pin(self.send(None, Conditions::OfSeen)).await
            }
            sent => sent,
        };
        if let (Ok(answer), Some(_)) = (&sent, &self.seen)
            && answer.bucket
            && (answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED)
        {
            let (key, now) = (self.obligation.key(), self.edge.clock.now());
            self.origin.primary().note_allowed(key, now);
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
        let mut fields: HeaderMap = self.id_field.clone().into_iter().collect();
        if let Some(value) = range.and_then(|range| self.aligned(range)) {
            fields.insert(header::RANGE, value);
        }
        if let (Some(seen), Conditions::OfSeen) = (&self.seen, conditions) {
            // RFC 9111 §4.3.1: both validators, where there are both
            for (validator, condition) in [
                (header::ETAG, header::IF_NONE_MATCH),
                (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
            ] {
                if let Some(value) = seen.fields.get(&validator) {
                    fields.insert(condition, value);
                }
            }
        }
        let request = OriginRequest {
            method: Method::GET,
            path: &self.path,
            projection: &self.forwarded,
            fields,
            client: None,
        };
        self.edge.ask_origin(&self.origin, &self.behavior, request, None).await
    }

    /// The range to request from the origin: whole slices, so that they can be stored.
    fn aligned(&self, range: ByteRange) -> Option<HeaderValue> {
        let slice = u64::from(self.edge.store.options().slice);
        let start_of = |at: u64| at / slice * slice;
        let end_of = |at: u64| start_of(at).saturating_add(slice - 1);
        let text = match range {
            ByteRange::FromTo(first, last) => format!("bytes={}-{}", start_of(first), end_of(last)),
            ByteRange::From(first) => format!("bytes={}-", start_of(first)),
            // Where the end is, is not known yet; the first slice tells.
            ByteRange::Last(_) => format!("bytes=0-{}", slice - 1),
        };
        HeaderValue::try_from(text).ok()
    }

    /// The origin failed: what is stale stays in use, if that is allowed.
    pub(crate) fn fail(self, failure: FetchError) {
        let now = self.edge.clock.now();
        if self.seen.as_ref().is_some_and(|seen| seen.freshness.serves_errors(now)) {
            return self.keep(failure, now);
        }
        // If this viewer's fields may have caused it, dropping the obligation makes each of the others
        // send its own request.
        if !(self.beyond_key && rejection::may_be_caused_by_request(failure)) {
            self.obligation.fail(failure);
        }
        // The viewer may have left; then nobody needs to be told.
        let _ = self.told.send(Forwarded::Failed(failure));
    }

    /// Adds to `Vary` what earlier responses of the resource named and this one does not repeat.
    pub(crate) fn keep_variation(&self, status: StatusCode, response: &mut HeaderMap) {
        if is_error(status) || !self.behavior.cache_policy.caching.honor_vary {
            return;
        }
        let Some(known) = self.edge.store.known_variation(&self.resource) else { return };
        let named: Vec<HeaderName> =
            names(response, &header::VARY).filter_map(Result::ok).collect();
        for name in known.names().iter().filter(|name| !named.contains(name)) {
            response.append(header::VARY, HeaderValue::from(name.clone()));
        }
    }

    fn variant_slot(&self, response: &HeaderMap) -> VariantSlot {
        variant_slot(&self.behavior, self.resource.clone(), &self.forwarded, response)
    }

    /// An error is about the request that led to it: it does not stand in the way of variants.
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
        let policy = &self.behavior.cache_policy;
        // Where it is in the key, each bearer has a copy of its own.
        let keyed = policy.key.headers.contains(&header::AUTHORIZATION);
        let authorized = self.forwarded.headers.iter().any(|(n, _)| *n == header::AUTHORIZATION);
        let asked = Asked {
            authorization: authorized && !keyed,
            bucket: answer.bucket,
            beyond_key: self.beyond_key,
        };
        let received = Received {
            status,
            fields,
            requested_at: answer.requested_at,
            received_at: answer.received_at,
            asked,
        };
        storable(&received, &policy.caching)
    }

    pub(crate) async fn settle(self, answer: OriginResponse) {
        let now = self.edge.clock.now();
        if let Some(detail) = self.reason_to_keep(&answer, now) {
            return self.keep(FetchError { status: answer.status, detail }, now);
        }
        if answer.bucket && answer.status == StatusCode::FORBIDDEN && self.has_good_copy() {
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
        let partial = match partial(&answer) {
            Ok(partial) => partial,
            // Without the length of the whole, this part cannot be stored among others.
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

    /// The origin's own times are those of one answer.
    fn has_timing(&self) -> bool {
        self.behavior.response_headers.as_ref().is_some_and(|p| p.server_timing.is_some())
    }

    /// Makes nobody wait for what will not be stored.
    pub(crate) fn give_up(self) {
        self.obligation.release(self.edge.clock.now() + REMEMBER_UNSTORABLE);
    }

    /// The response is for one viewer only. Every other request must fetch its own.
    pub(crate) fn release(self, answer: OriginResponse, reason: NotStored) {
        // An origin in trouble is no news about the object: what is stored of it stays.
        let trouble =
            answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS;
        // Nor is what may be one viewer's own doing: others may be answered from the store.
        let own = reason == NotStored::Authorization
            || (reason == NotStored::Status && answer.status.is_client_error());
        if !trouble && !own {
            self.obligation.release(self.edge.clock.now() + REMEMBER_UNSTORABLE);
        }
        // We requested a part in slices of ours. The viewer's own range must be requested by itself.
        let forwarded = match answer.status {
            StatusCode::PARTIAL_CONTENT => Forwarded::Alone,
            _ => Forwarded::Unstorable(Box::new(answer), reason),
        };
        let _ = self.told.send(forwarded);
    }

    async fn store(
        self,
        mut answer: OriginResponse,
        storable: Storable,
        partial: Option<Received206>,
        length: u64,
    ) {
        let slice = self.edge.store.options().slice;
        let sliced = length > u64::from(slice);
        let is_object = matches!(answer.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        let countable = length / u64::from(slice) < u64::from(u32::MAX);
        if sliced && partial.is_none() && !StoredResponse::is_sliceable(&answer.fields) {
            return Box::pin(self.collect(answer, storable)).await;
        }
        if sliced && !(is_object && countable && StoredResponse::is_sliceable(&answer.fields)) {
            return self.release(answer, NotStored::Status);
        }
        let content = Arc::new(match length {
            0 => self.edge.store.complete_content(Bytes::new()),
            _ => self.edge.store.new_content(length),
        });
        let bytes = partial.map_or(0..length, |partial| partial.bytes);
        let layout = self.edge.store.layout(&content);
        let arriving = layout.slices_of(&bytes);
        if layout.bytes_of(&arriving) != bytes {
            // Not the range that was asked for: it fits no slices.
            return self.release(answer, NotStored::Status);
        }
        let body = std::mem::replace(&mut answer.body, Body::empty());
        let mut fill = pin!(self.edge.store.fill(&content, arriving, body));
        let is_small = layout.is_single() && length <= SMALL;
        let filled =
            if is_small { tokio::time::timeout(WITH_HEAD, fill.as_mut()).await.ok() } else { None };
        if let Some(Err(failure)) = filled {
            return self.fail(failure);
        }
        let (how, timing) = (How::Fetched, Some(Box::new(answer.timing)));
        let (StoredBody { response, own_fields }, told) =
            self.store_response(&mut answer, storable, content);
        // The viewer may have left; then nobody needs to be told.
        let _ = told.send(Forwarded::Stored { response, how, own_fields, timing });
        if filled.is_none() {
            // Whoever reads is told of a failure.
            let _ = fill.await;
        }
    }

    /// Stores an answer over its content and fulfils the obligation with it; gives back what was
    /// stored, and whom to tell.
    pub(crate) fn store_response(
        self,
        answer: &mut OriginResponse,
        mut storable: Storable,
        content: Arc<Content>,
    ) -> (StoredBody, oneshot::Sender<Forwarded>) {
        let partial = answer.status == StatusCode::PARTIAL_CONTENT;
        let status = if partial { StatusCode::OK } else { answer.status };
        storable.withheld.extend(self.has_timing().then_some(SERVER_TIMING));
        let own_fields = withhold(&mut answer.fields, &storable.withheld);
        self.keep_variation(status, &mut answer.fields);
        // The edge serves ranges of what it stores, and says so itself.
        answer.fields.remove(header::ACCEPT_RANGES);
        let (mark, freshness) = (self.obligation.mark(), storable.freshness);
        let mut response = StoredResponse::new(status, &answer.fields, freshness, content, mark);
        response.synthetic_error = answer.bucket && is_error(status);
        response.tags = std::mem::take(&mut answer.tags);
        let place = self.place_of(status, &answer.fields);
        let response = Arc::new(response);
        self.obligation.fulfil(&place, Arc::clone(&response), self.edge.clock.now());
        (StoredBody { response, own_fields }, self.told)
    }
}

/// What was stored of an answer, and what was not.
pub(crate) struct StoredBody {
    pub(crate) response: Arc<StoredResponse>,
    /// Fields for the viewer who asked alone.
    pub(crate) own_fields: Option<Box<HeaderMap>>,
}

/// Takes the fields out that are not for other viewers (RFC 9111 §5.2.2.4, §5.2.2.7).
pub(crate) fn withhold(fields: &mut HeaderMap, names: &[HeaderName]) -> Option<Box<HeaderMap>> {
    let mut withheld = HeaderMap::new();
    for name in names {
        withheld.extend(fields.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        fields.remove(name);
    }
    (!withheld.is_empty()).then(|| Box::new(withheld))
}
