//! Request coalescing: one request fetches from the origin, and concurrent ones wait for it.

use std::{pin::pin, sync::Arc};

use futures_util::future::BoxFuture;
use http::Method;
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    fetch_task::{Fetch, fetches_head},
    forwarded::{Forwarded, How},
};
use crate::{
    base::clock::Timestamp,
    cache::{
        key::CacheKey,
        policy::{Reuse, reuse},
        store::{FetchLock, FetchOutcome, Lookup, StoredResponse},
    },
    proxy::{
        context::Edge,
        request::{admission::AdmittedRequest, variant_slot::key_of},
    },
};

/// Fetches from the origin, or waits for a fetch in progress.
pub(crate) async fn forward(
    edge: &Arc<Edge>,
    admitted: &AdmittedRequest<'_>,
    key: CacheKey,
    seen: Option<Arc<StoredResponse>>,
    now: Timestamp,
) -> Forwarded {
    let is_head = fetches_head(admitted, seen.as_deref());
    let obligation = match edge.store.claim(&key, seen.as_ref(), is_head, now) {
        FetchLock::Lookup(Lookup::Response(response)) if !answers(&response, admitted) => {
            return Forwarded::Again;
        }
        // A fetch that began before this request stored it. A purge in between may be unknown.
        FetchLock::Lookup(Lookup::Response(_)) if !edge.store.may_reuse() => {
            return Forwarded::Alone;
        }
        FetchLock::Lookup(Lookup::Response(response)) => {
            // It may have arrived after this request.
            return match reuse(Some(&response.freshness), edge.clock.now()) {
                Reuse::Fresh => Forwarded::Found(response),
                Reuse::Stale | Reuse::Refresh if !admitted.is_of_peer => Forwarded::Found(response),
                _ => Forwarded::Alone,
            };
        }
        FetchLock::Lookup(Lookup::Varies(_)) => return Forwarded::Again,
        FetchLock::Lookup(Lookup::HitForMiss(_) | Lookup::Nothing) => return Forwarded::Alone,
        FetchLock::Wait(waiter) => {
            let patience = admitted.origin().longest_wait();
            // The failure of a HEAD does not answer a GET, which must claim the key itself.
            let is_other = waiter.waits_for_head() && *admitted.method != Method::HEAD;
            return match waiter.outcome(patience).await {
                FetchOutcome::Failed(_) | FetchOutcome::Released if is_other => Forwarded::Again,
                FetchOutcome::Stored(response, _) if !answers(&response, admitted) => {
                    Forwarded::Again
                }
                FetchOutcome::Stored(response, stored)
                    if stored == key || stored == key_of(admitted, &response) =>
                {
                    Forwarded::Stored {
                        response,
                        how: How::Collapsed,
                        own_fields: None,
                        timing: None,
                    }
                }
                FetchOutcome::Stored(..) => Forwarded::Again,
                FetchOutcome::Failed(failure) => Forwarded::Failed(failure),
                FetchOutcome::Released => Forwarded::Alone,
            };
        }
        FetchLock::Lead(obligation) => obligation,
    };
    let (forward, outcome) = oneshot::channel();
    let mut fetch = Fetch::new(edge, admitted, seen, obligation, forward);
    fetch.upstream.on_interim = admitted.open_interim();
    let fetch = UnderWay::new(fetch.run());
    // If the fetch ends without an outcome, this request goes to the origin alone.
    fetch.until(outcome).await.unwrap_or(Forwarded::Alone)
}

/// Whether a response can answer the request. A stored HEAD cannot answer a GET.
fn answers(response: &StoredResponse, admitted: &AdmittedRequest<'_>) -> bool {
    *admitted.method == Method::HEAD || !response.content_state.is_head_only()
}

/// A fetch on behalf of the store. The viewer's future polls it while the viewer waits. If it is unfinished on
/// drop, it continues in its own task; most need none.
struct UnderWay(Option<BoxFuture<'static, ()>>);

impl UnderWay {
    fn new(fetch: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(fetch)))
    }

    async fn until<T>(mut self, outcome: impl Future<Output = T>) -> T {
        let mut outcome = pin!(outcome);
        std::future::poll_fn(|cx| {
            // Take it out and put it back, so that a fetch that panics is not polled again.
            let under_way = self.0.take();
            self.0 = under_way
                .and_then(|mut fetch| fetch.as_mut().poll(cx).is_pending().then_some(fetch));
            outcome.as_mut().poll(cx)
        })
        .await
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let (Some(fetch), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(fetch);
        }
    }
}

/// Validates a stale response while it is served (RFC 5861 §3), unless a validation is in progress.
pub(crate) fn refresh(
    edge: &Arc<Edge>,
    admitted: &AdmittedRequest<'_>,
    key: &CacheKey,
    seen: &Arc<StoredResponse>,
    now: Timestamp,
) {
    let is_head = fetches_head(admitted, Some(seen));
    if let FetchLock::Lead(obligation) = edge.store.claim(key, Some(seen), is_head, now) {
        // No viewer waits for the outcome.
        let (forward, _) = oneshot::channel();
        tokio::spawn(Fetch::new(edge, admitted, Some(Arc::clone(seen)), obligation, forward).run());
    }
}
