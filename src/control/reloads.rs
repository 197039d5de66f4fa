//! Reloads of the configuration: requests for them, and their outcomes.

use std::sync::Arc;

use http::{Response, StatusCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{
    State,
    reply::{json, refuse},
};
use crate::{
    base::{clock::Timestamp, metrics::Metrics},
    http::body::Body,
};

/// Requests that wait while a reload is in progress. Further ones wait for their turn.
const WAITING: usize = 8;

/// A new configuration that is in effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether there is a configuration file.
    pub is_from_file: bool,
    /// The keys that changed, but whose old values stay in effect until a restart.
    pub needs_restart: Vec<String>,
    /// The warnings of `forebay check`.
    pub warnings: Vec<String>,
}

impl Reloaded {
    /// The outcome in one line.
    #[must_use]
    pub const fn summary(&self) -> &'static str {
        match (self.is_from_file, self.needs_restart.is_empty()) {
            (true, true) => "the new configuration is in effect",
            (true, false) => "the new configuration is in effect, except for what needs a restart",
            (false, _) => "there is no configuration file; AWS credentials are read again",
        }
    }

    /// All that the operator should know, a line each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let restart = |key| format!("`{key}` changed; restart Forebay to apply the change");
        self.needs_restart.iter().map(restart).chain(self.warnings.clone()).collect()
    }
}

/// The outcome of a reload: the new configuration is in effect, or an error says why not.
pub(crate) type ReloadOutcome = Result<Reloaded, String>;

/// A request for a reload, which gets its outcome.
pub(crate) type ReloadRequest = oneshot::Sender<ReloadOutcome>;

/// Requests for reloads, and the outcomes of the last ones.
#[derive(Debug)]
pub(super) struct Reloads {
    requests: mpsc::Sender<ReloadRequest>,
    receiver: Mutex<Option<mpsc::Receiver<ReloadRequest>>>,
    status: Mutex<ConfigurationStatus>,
    metrics: Arc<Metrics>,
}

/// The age of the configuration in effect.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ConfigurationStatus {
    /// When it was loaded.
    in_effect_since: String,
    /// When a reload failed, if none has succeeded since.
    #[serde(skip_serializing_if = "Option::is_none")]
    reload_failed_at: Option<String>,
}

impl Reloads {
    /// The status after a start at `now`.
    pub(super) fn new(now: Timestamp, metrics: Arc<Metrics>) -> Self {
        let (requests, receiver) = mpsc::channel(WAITING);
        metrics.configuration.reloaded(Some(now));
        let status = ConfigurationStatus { in_effect_since: now.rfc3339(), reload_failed_at: None };
        let (receiver, status) = (Mutex::new(Some(receiver)), Mutex::new(status));
        Self { requests, receiver, status, metrics }
    }

    /// The requests to carry out; `None` after the first call.
    pub(super) fn take_requests(&self) -> Option<mpsc::Receiver<ReloadRequest>> {
        self.receiver.lock().take()
    }

    /// Records the outcome of a reload.
    pub(super) fn record(&self, is_success: bool, now: Timestamp) {
        self.metrics.configuration.reloaded(is_success.then_some(now));
        let mut status = self.status.lock();
        if is_success {
            *status =
                ConfigurationStatus { in_effect_since: now.rfc3339(), reload_failed_at: None };
        } else {
            status.reload_failed_at = Some(now.rfc3339());
        }
    }

    pub(super) fn status(&self) -> ConfigurationStatus {
        self.status.lock().clone()
    }

    /// Requests a reload and waits for its outcome; `None` if the process does not reload.
    async fn request(&self) -> Option<ReloadOutcome> {
        // A program that embeds Forebay need not offer reloads.
        if self.receiver.lock().is_some() {
            return None;
        }
        let (request, outcome) = oneshot::channel();
        self.requests.send(request).await.ok()?;
        outcome.await.ok()
    }
}

impl State {
    /// Answers `POST /reload` of `caller`.
    pub(super) async fn reload(&self, caller: &str) -> Response<Body> {
        tracing::info!(caller, "a reload was requested");
        match self.reloads.request().await {
            Some(Ok(reloaded)) => json(StatusCode::OK, &reloaded),
            Some(Err(error)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error),
            None => refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "this Forebay does not reload: it is stopping, or it is a demo",
            ),
        }
    }
}
