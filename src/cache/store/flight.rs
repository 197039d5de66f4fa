//! One request to the origin that others may wait for, and the duty to finish it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::StatusCode;
use tokio::sync::Notify;

use super::{
    Store,
    index::{Digest, Note, Pass},
    purge::LogPosition,
    response::StoredResponse,
    variants::Place,
};
use crate::{
    base::clock::Timestamp,
    cache::{
        key::CacheKey,
        policy::{Reuse, reuse},
    },
};

/// How a forward ended, for those who waited for it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// This response answers the requests that waited and have this key.
    Stored(Arc<StoredResponse>, CacheKey),
    /// The origin could not be asked or answered badly; the others would fare no better.
    Failed(Failure),
    /// Nothing that could be shared: each waiter forwards for itself.
    Released,
}

/// A failure to get something from the origin, as the viewer is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status to answer.
    pub status: StatusCode,
    /// A token for logs and metrics.
    pub detail: &'static str,
}

impl Failure {
    /// The origin broke off within the content.
    pub const CUT: Self = Self { status: StatusCode::BAD_GATEWAY, detail: "origin-read" };
}

/// A forward under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) born: LogPosition,
    outcome: OnceLock<Outcome>,
    landed: Notify,
}

impl Flight {
    pub(super) fn new(born: LogPosition) -> Self {
        Self { born, outcome: OnceLock::new(), landed: Notify::new() }
    }

    pub(super) fn waiter(self: &Arc<Self>) -> Waiter {
        Waiter(Arc::clone(self))
    }

    async fn outcome(&self) -> Outcome {
        loop {
            // Taken first: it tells of a landing from here on.
            let landed = self.landed.notified();
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            landed.await;
        }
    }
}

/// Waits for somebody else's forward.
#[derive(Debug)]
pub struct Waiter(Arc<Flight>);

impl Waiter {
    /// The outcome; [`Outcome::Released`] when it takes longer than `patience`.
    ///
    /// Cancel-safe: dropping the future leaves the forward alone.
    pub async fn outcome(self, patience: Duration) -> Outcome {
        tokio::time::timeout(patience, self.0.outcome()).await.unwrap_or(Outcome::Released)
    }
}

/// The duty to end a forward. Consumed by ending it; when it is dropped instead, because a task
/// was cancelled or failed, the waiters are released, so nobody is ever stranded.
#[must_use = "dropping it releases the waiters"]
#[derive(Debug)]
pub struct Obligation {
    store: Arc<Store>,
    key: CacheKey,
    digest: Digest,
    flight: Arc<Flight>,
}

impl Obligation {
    pub(super) const fn new(
        store: Arc<Store>,
        key: CacheKey,
        digest: Digest,
        flight: Arc<Flight>,
    ) -> Self {
        Self { store, key, digest, flight }
    }

    /// Where the purge log stood when this forward started.
    #[must_use]
    pub fn born(&self) -> LogPosition {
        self.flight.born
    }

    /// The key this forward is about.
    #[must_use]
    pub const fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Stores `response` in its place and answers the waiters with it. Where it may not be used
    /// again even now, they are released instead: each must ask for itself (RFC 9111 §4).
    pub fn fulfil(self, place: &Place, response: Arc<StoredResponse>, now: Timestamp) {
        let shareable = !matches!(reuse(Some(&response.freshness), now), Reuse::Validate);
        self.put(place, &response);
        self.land(if shareable {
            Outcome::Stored(response, place.key.clone())
        } else {
            Outcome::Released
        });
    }

    /// The origin failed: `response`, stale as it is, stays in use and answers the waiters too.
    pub fn keep(self, place: &Place, response: Arc<StoredResponse>) {
        self.put(place, &response);
        self.land(Outcome::Stored(response, place.key.clone()));
    }

    fn put(&self, place: &Place, response: &Arc<StoredResponse>) {
        // A forward that a purge has overtaken was replaced in the table: it stores nothing.
        if self.is_current() {
            self.store.put(place, Arc::clone(response));
        }
    }

    /// Answers the waiters with a failure; nothing is stored, what was stored stays.
    pub fn fail(self, failure: Failure) {
        self.land(Outcome::Failed(failure));
    }

    /// Releases the waiters and, until `until`, makes no request under this key wait for another.
    pub fn release(self, until: Timestamp) {
        if self.is_current() {
            let pass = Pass { until, born: self.flight.born };
            self.store.memory.insert_note(&self.key, Note::Pass(Arc::new(pass)));
        }
        self.land(Outcome::Released);
    }

    fn is_current(&self) -> bool {
        self.store.is_current(self.digest, &self.flight)
    }

    fn land(&self, outcome: Outcome) {
        self.store.retire(self.digest, &self.flight);
        if self.flight.outcome.set(outcome).is_ok() {
            self.flight.landed.notify_waiters();
        }
    }
}

impl Drop for Obligation {
    fn drop(&mut self) {
        if self.flight.outcome.get().is_none() {
            self.land(Outcome::Released);
        }
    }
}
