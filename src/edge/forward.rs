//! Forwarding: one request asks the origin, those that come meanwhile wait for it.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{Edge, admit::Ask, fetch::Fetch};
use crate::{
    clock::Timestamp,
    origin::Answer,
    policy::NotStored,
    store::{Claim, Failure, Found, Outcome, StoredResponse},
};

/// How long a request waits for another's forward before it makes its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a forward brought.
pub(super) enum Forwarded {
    /// A stored response, from the origin or confirmed by it.
    Stored {
        response: Arc<StoredResponse>,
        /// The stored response was confirmed by a 304.
        validated: bool,
        /// Another request asked; this one waited.
        collapsed: bool,
    },
    /// Somebody else brought it in the meantime.
    Found(Arc<StoredResponse>),
    /// The origin's answer, which must not be stored.
    Unstorable(Box<Answer>, NotStored),
    /// Forward this request for itself.
    Alone,
    /// The origin cannot be asked.
    Failed(Failure),
}

/// Asks the origin, or waits for a request that does already.
pub(super) async fn forward(
    edge: &Arc<Edge>,
    ask: &Ask<'_>,
    seen: Option<Arc<StoredResponse>>,
    now: Timestamp,
) -> Forwarded {
    let obligation = match edge.store.claim(&ask.key(), seen.as_ref(), now) {
        Claim::Found(Found::Response(response)) if response.freshness.is_fresh(now) => {
            return Forwarded::Found(response);
        }
        Claim::Found(_) => return Forwarded::Alone,
        Claim::Wait(waiter) => {
            return match waiter.outcome(PATIENCE).await {
                Outcome::Stored(response) => {
                    Forwarded::Stored { response, validated: false, collapsed: true }
                }
                Outcome::Failed(failure) => Forwarded::Failed(failure),
                Outcome::Released => Forwarded::Alone,
            };
        }
        Claim::Lead(obligation, _) => obligation,
    };
    // The fetch belongs to the store: it goes on when this viewer leaves.
    let (told, outcome) = oneshot::channel();
    tokio::spawn(Fetch::new(edge, ask, seen, obligation, told).run());
    // A fetch that ends without a word was cancelled or failed in our own code.
    outcome.await.unwrap_or(Forwarded::Alone)
}
