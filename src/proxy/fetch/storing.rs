//! Storage of origin responses.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::sync::oneshot;

use super::{
    fetch_task::Fetch,
    forwarded::{Forwarded, How},
    received_range::Received206,
};
use crate::{
    cache::{
        key::CacheKey,
        policy::{NotStored, Storable},
        store::{Content, ContentState, StoredResponse},
    },
    http::body::Body,
    origin::OriginResponse,
    proxy::request::{headers_policy::SERVER_TIMING, rejection::is_error},
};

/// Content up to this length mostly arrives with its head. It is stored and sent in one piece.
const SMALL: u64 = 64 << 10;

/// How long a fetch waits for such content. Slower content streams as it arrives.
const WITH_HEAD: Duration = Duration::from_millis(10);

impl Fetch {
    /// Stores the response to a HEAD. A bucket's error is stored like that of a GET, because its page is synthetic.
    pub(super) fn store_head(self, mut answer: OriginResponse, storable: Storable) {
        let store = &self.upstream.edge.store;
        let (content, content_state) = match answer.announced_length {
            _ if answer.bucket && is_error(answer.status) => {
                (store.complete_content(Bytes::new()), ContentState::Full)
            }
            Some(length) => (store.new_content(length), ContentState::HeadOnly),
            None => (store.new_content(0), ContentState::HeadOnlyOfUnknownLength),
        };
        let timing = Some(Box::new(answer.timing));
        let (StoredBody { response, own_fields, .. }, forward) =
            self.store_response(&mut answer, storable, Arc::new(content), content_state);
        // The viewer may have disconnected.
        let _ = forward.send(Forwarded::Stored {
            response,
            how: How::Fetched { peer: answer.peer },
            own_fields,
            timing,
        });
    }

    pub(super) async fn store(
        self,
        mut answer: OriginResponse,
        storable: Storable,
        partial: Option<Received206>,
        length: u64,
    ) {
        let slice = self.upstream.edge.store.options().slice;
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
            0 => self.upstream.edge.store.complete_content(Bytes::new()),
            _ => self.upstream.edge.store.new_content(length),
        });
        let bytes = partial.map_or(0..length, |partial| partial.bytes);
        let layout = self.upstream.edge.store.layout(&content);
        let arriving = layout.slices_of(&bytes);
        if layout.bytes_of(&arriving) != bytes {
            // The range differs from the requested one and does not fit the slices.
            return self.release(answer, NotStored::Status);
        }
        let body = std::mem::replace(&mut answer.body, Body::empty());
        let mut fill = pin!(self.upstream.edge.store.fill(&content, arriving, body));
        let is_small = layout.is_single() && length <= SMALL;
        let filled =
            if is_small { tokio::time::timeout(WITH_HEAD, fill.as_mut()).await.ok() } else { None };
        if let Some(Err(failure)) = filled {
            return self.fail(failure);
        }
        let (how, timing) = (How::Fetched { peer: answer.peer }, Some(Box::new(answer.timing)));
        let (store, content_arriving) =
            (Arc::clone(&self.upstream.edge.store), Arc::clone(&content));
        let (StoredBody { response, own_fields, key }, forward) =
            self.store_response(&mut answer, storable, content, ContentState::Full);
        // The viewer may have disconnected.
        let _ = forward.send(Forwarded::Stored { response, how, own_fields, timing });
        // The fill reports a failure to its readers.
        if filled.is_none() && fill.await.is_ok() {
            store.save_complete(&key, &content_arriving);
        }
    }

    /// Whether the policy adds `Server-Timing`. The origin's own timing applies to one response only.
    fn has_timing(&self) -> bool {
        self.upstream.behavior.response_headers.as_ref().is_some_and(|p| p.server_timing.is_some())
    }

    /// Stores a response with its content and fulfils the obligation. Returns the stored response and the channel to
    /// the viewer's request.
    pub(crate) fn store_response(
        self,
        answer: &mut OriginResponse,
        mut storable: Storable,
        content: Arc<Content>,
        content_state: ContentState,
    ) -> (StoredBody, oneshot::Sender<Forwarded>) {
        let partial = answer.status == StatusCode::PARTIAL_CONTENT;
        let status = if partial { StatusCode::OK } else { answer.status };
        storable.withheld.extend(self.has_timing().then_some(SERVER_TIMING));
        let own_fields = withhold(&mut answer.fields, &storable.withheld);
        self.keep_variation(status, &mut answer.fields);
        // The edge serves ranges of stored responses and sets `Accept-Ranges` itself.
        answer.fields.remove(header::ACCEPT_RANGES);
        let (mark, freshness) = (self.obligation.mark(), storable.freshness);
        let mut response = StoredResponse::new(status, &answer.fields, freshness, content, mark);
        response.synthetic_error = answer.bucket && is_error(status);
        response.content_state = content_state;
        response.tags = std::mem::take(&mut answer.tags);
        let place = self.place_of(status, &answer.fields);
        let response = Arc::new(response);
        self.obligation.fulfil(&place, Arc::clone(&response), self.upstream.edge.clock.now());
        (StoredBody { response, own_fields, key: place.key }, self.forward)
    }
}

/// A stored response, and the headers that were not stored.
pub(crate) struct StoredBody {
    pub(crate) response: Arc<StoredResponse>,
    /// Headers for this viewer alone.
    pub(crate) own_fields: Option<Box<HeaderMap>>,
    /// The key under which it is stored.
    pub(crate) key: CacheKey,
}

/// Removes and returns the headers that other viewers must not get (RFC 9111 §5.2.2.4, §5.2.2.7).
pub(crate) fn withhold(fields: &mut HeaderMap, names: &[HeaderName]) -> Option<Box<HeaderMap>> {
    let mut withheld = HeaderMap::new();
    for name in names {
        withheld.extend(fields.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        fields.remove(name);
    }
    (!withheld.is_empty()).then(|| Box::new(withheld))
}
