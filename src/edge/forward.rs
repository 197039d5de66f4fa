//! Forwarding: one request asks the origin, those that come meanwhile wait for it.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use tokio::{runtime::Handle, sync::oneshot};

use super::{Edge, admit::Ask, fetch::Fetch};
use crate::{
    behavior::Behavior,
    clock::Timestamp,
    key::{CacheKey, Projection, Variation},
    metrics::ResultType,
    origin::{Answer, Timing},
    policy::{NotStored, Reuse, reuse},
    semantics::cache_status::Report,
    store::{Claim, Failure, Found, Outcome, Place, StoredResponse},
};

/// How long a request waits for another's forward before it makes its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a forward brought.
pub(super) enum Forwarded {
    /// A stored response.
    Stored {
        response: Arc<StoredResponse>,
        how: How,
        /// Fields of the origin's answer that are not stored, for this viewer alone.
        own_fields: Option<Box<HeaderMap>>,
        /// How long the origin took.
        timing: Option<Box<Timing>>,
    },
    /// Somebody else brought it in the meantime.
    Found(Arc<StoredResponse>),
    /// The origin's answer, which must not be stored.
    Unstorable(Box<Answer>, NotStored),
    /// Something is stored now, but not what this request selects.
    Again,
    /// Forward this request for itself.
    Alone,
    /// The origin cannot be asked.
    Failed(Failure),
}

/// How a stored response came to answer a request that was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The origin sent it.
    Fetched,
    /// The origin confirmed it with a 304, whose fields may forbid to store it again.
    Validated(Result<(), NotStored>),
    /// The origin failed, as the token tells; the stale response stays in use.
    Kept(&'static str),
    /// Another request asked; this one waited.
    Collapsed,
}

impl How {
    /// Tells of it in `Cache-Status`, and as CloudFront names it.
    pub(super) const fn tell(self, report: &mut Report) -> ResultType {
        match self {
            Self::Fetched => {
                report.stored = true;
                ResultType::Miss
            }
            Self::Validated(stored) => {
                report.forward_status = Some(StatusCode::NOT_MODIFIED.as_u16());
                match stored {
                    Ok(()) => report.stored = true,
                    Err(reason) => report.detail = Some(reason.token()),
                }
                ResultType::RefreshHit
            }
            Self::Kept(why) => {
                report.detail = Some(why);
                ResultType::Hit
            }
            Self::Collapsed => {
                report.collapsed = true;
                ResultType::Hit
            }
        }
    }
}

/// Asks the origin, or waits for a request that does already.
pub(super) async fn forward(
    edge: &Arc<Edge>,
    ask: &Ask<'_>,
    key: CacheKey,
    seen: Option<Arc<StoredResponse>>,
    now: Timestamp,
) -> Forwarded {
    let obligation = match edge.store.claim(&key, seen.as_ref(), now) {
        Claim::Found(Found::Response(response)) => {
            return match reuse(Some(&response.freshness), now) {
                Reuse::Fresh | Reuse::Stale | Reuse::Refresh => Forwarded::Found(response),
                Reuse::Validate | Reuse::Forward(_) => Forwarded::Alone,
            };
        }
        Claim::Found(Found::Varies(_)) => return Forwarded::Again,
        Claim::Found(Found::Pass | Found::Nothing) => return Forwarded::Alone,
        Claim::Wait(waiter) => {
            return match waiter.outcome(PATIENCE).await {
                Outcome::Stored(response, stored)
                    if stored == key || stored == key_of(ask, &response) =>
                {
                    Forwarded::Stored {
                        response,
                        how: How::Collapsed,
                        own_fields: None,
                        timing: None,
                    }
                }
                Outcome::Stored(..) => Forwarded::Again,
                Outcome::Failed(failure) => Forwarded::Failed(failure),
                Outcome::Released => Forwarded::Alone,
            };
        }
        Claim::Lead(obligation) => obligation,
    };
    let (told, outcome) = oneshot::channel();
    let fetch = UnderWay::new(Fetch::new(edge, ask, seen, obligation, told).run());
    // Without a word nothing was told: that viewer asks for itself.
    fetch.until(outcome).await.unwrap_or(Forwarded::Alone)
}

/// A fetch, which belongs to the store. It goes on here for as long as its viewer waits, and by itself from
/// then on: most are done by then, and need no task.
struct UnderWay(Option<BoxFuture<'static, ()>>);

impl UnderWay {
    fn new(fetch: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(fetch)))
    }

    async fn until<T>(mut self, outcome: impl Future<Output = T>) -> T {
        let mut outcome = pin!(outcome);
        std::future::poll_fn(|cx| {
            // Taken out and put back: one that panics is gone.
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

/// Validates a stale response while it is served (RFC 5861 §3), unless somebody does already.
pub(super) fn refresh(
    edge: &Arc<Edge>,
    ask: &Ask<'_>,
    key: &CacheKey,
    seen: &Arc<StoredResponse>,
    now: Timestamp,
) {
    if let Claim::Lead(obligation) = edge.store.claim(key, Some(seen), now) {
        // Nobody waits to be told.
        let (told, _) = oneshot::channel();
        tokio::spawn(Fetch::new(edge, ask, Some(Arc::clone(seen)), obligation, told).run());
    }
}

/// The key of the variant of `response` that a request selects.
pub(super) fn key_of(ask: &Ask<'_>, response: &StoredResponse) -> CacheKey {
    place(ask.behavior, ask.key(), &ask.forwarded(), &response.fields.to_map()).key
}

/// Where a response with these fields is stored; `forwarded` is what the origin request carried.
pub(super) fn place(
    behavior: &Behavior,
    resource: CacheKey,
    forwarded: &Projection<'_>,
    response: &HeaderMap,
) -> Place {
    let policy = &behavior.cache_policy;
    let variation = if policy.terms.honor_vary {
        Variation::read(response, &behavior.forward, &policy.key)
    } else {
        None
    };
    let key = match &variation {
        Some(variation) => variation.key(&resource, forwarded),
        None => resource.clone(),
    };
    Place { resource, variation, key }
}
