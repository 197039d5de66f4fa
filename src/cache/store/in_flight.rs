//! One request to the origin that others may wait for, and the obligation to finish it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::StatusCode;
use tokio::sync::Notify;

use super::{
    Store,
    index::{HitForMiss, Note},
    purge_mark::PurgeMark,
    response::StoredResponse,
    variants::VariantSlot,
};
use crate::{
    base::clock::Timestamp,
    cache::{
        digest::Digest,
        key::CacheKey,
        policy::{NotStored, Reuse, reuse},
    },
};

/// The outcome of a fetch, for the requests that waited for it.
#[derive(Clone, Debug)]
pub enum FetchOutcome {
    /// This response is served to the waiting requests that have this key.
    Stored(Arc<StoredResponse>, CacheKey),
    /// The origin is unreachable or its response invalid. Other requests would fail, too.
    Failed(FetchError),
    /// Nothing can be shared: each waiter fetches for itself.
    Released,
}

/// A failed fetch, as reported to viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// The status of the response.
    pub status: StatusCode,
    /// A token for logs and metrics.
    pub detail: &'static str,
}

impl FetchError {
    /// There is only a stale response, which another node must not get.
    pub(crate) const STALE: Self = Self { status: StatusCode::BAD_GATEWAY, detail: "origin-error" };

    /// The origin closed the connection within the content.
    pub const CUT: Self = Self { status: StatusCode::BAD_GATEWAY, detail: "origin-read" };
}

/// A fetch in progress.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) mark: PurgeMark,
    /// Whether the fetch is for the head alone.
    is_head: bool,
    outcome: OnceLock<FetchOutcome>,
    landed: Notify,
}

impl InFlight {
    pub(super) fn new(mark: PurgeMark, is_head: bool) -> Self {
        Self { mark, is_head, outcome: OnceLock::new(), landed: Notify::new() }
    }

    pub(super) fn waiter(self: &Arc<Self>) -> Waiter {
        Waiter(Arc::clone(self))
    }

    async fn outcome(&self) -> FetchOutcome {
        loop {
            // Created first: it reports a completion from here on.
            let landed = self.landed.notified();
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            landed.await;
        }
    }
}

/// Waits for another request's fetch.
#[derive(Debug)]
pub struct Waiter(Arc<InFlight>);

impl Waiter {
    /// Whether the fetch is for a head alone: its failure says little about the content.
    pub(crate) fn waits_for_head(&self) -> bool {
        self.0.is_head
    }

    /// The outcome; [`FetchOutcome::Released`] if it takes longer than `patience`.
    ///
    /// Cancel-safe: dropping the future does not affect the fetch.
    pub async fn outcome(self, patience: Duration) -> FetchOutcome {
        tokio::time::timeout(patience, self.0.outcome()).await.unwrap_or(FetchOutcome::Released)
    }
}

/// The obligation to end a fetch. Ending consumes it. If it is dropped instead because a task was
/// canceled or failed, the waiters are released.
#[must_use = "dropping it releases the waiters"]
#[derive(Debug)]
pub struct Obligation {
    store: Arc<Store>,
    key: CacheKey,
    digest: Digest,
    flight: Arc<InFlight>,
}

impl Obligation {
    pub(super) const fn new(
        store: Arc<Store>,
        key: CacheKey,
        digest: Digest,
        flight: Arc<InFlight>,
    ) -> Self {
        Self { store, key, digest, flight }
    }

    /// The purge position when this fetch started.
    #[must_use]
    pub fn mark(&self) -> PurgeMark {
        self.flight.mark
    }

    /// The key of the fetch.
    #[must_use]
    pub const fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Stores `response` under its key and serves it to the waiters. If it may not be reused even now, the
    /// waiters are released instead: each must fetch for itself (RFC 9111 §4).
    pub fn fulfil(self, place: &VariantSlot, response: Arc<StoredResponse>, now: Timestamp) {
        let shareable = !matches!(reuse(Some(&response.freshness), now), Reuse::Validate);
        self.put(place, &response);
        self.complete(if shareable {
            FetchOutcome::Stored(response, place.key.clone())
        } else {
            FetchOutcome::Released
        });
    }

    /// The origin failed: the stale `response` stays in use and is served to the waiters too. Its record on disk is
    /// the same as before.
    pub fn keep(self, key: &CacheKey, response: Arc<StoredResponse>) {
        if self.is_current() {
            let _lock = self.store.lock_key(self.store.memory.digest_of(key));
            self.store.memory.insert(key, Arc::clone(&response));
        }
        self.complete(FetchOutcome::Stored(response, key.clone()));
    }

    fn put(&self, place: &VariantSlot, response: &Arc<StoredResponse>) {
        // A purge during the fetch replaced it in the table. Nothing is stored then.
        if self.is_current() {
            self.store.put(place, Arc::clone(response));
        }
    }

    /// Fails the waiters. Nothing is stored, and stored responses stay.
    pub fn fail(self, failure: FetchError) {
        self.complete(FetchOutcome::Failed(failure));
    }

    /// Releases the waiters, because the response cannot be stored. Until `until`, requests for this key do not wait for
    /// each other.
    pub fn release(self, why: NotStored, until: Timestamp) {
        if self.is_current() {
            let pass = HitForMiss { why, until, mark: self.flight.mark };
            let _lock = self.store.lock_key(self.digest);
            // An older response would be found again when this note expires.
            self.store.forget_on_disk(&self.key);
            self.store.memory.insert_note(&self.key, Note::HitForMiss(Arc::new(pass)));
        }
        self.complete(FetchOutcome::Released);
    }

    fn is_current(&self) -> bool {
        self.store.is_current(self.digest, &self.flight)
    }

    fn complete(&self, outcome: FetchOutcome) {
        self.store.retire(self.digest, &self.flight);
        if self.flight.outcome.set(outcome).is_ok() {
            self.flight.landed.notify_waiters();
        }
    }
}

impl Drop for Obligation {
    fn drop(&mut self) {
        if self.flight.outcome.get().is_none() {
            self.complete(FetchOutcome::Released);
        }
    }
}
