//! Reloads of the configuration, and their outcomes.

use std::sync::Arc;

use http::{Response, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;

use super::{
    State,
    operator_commands::OperatorCommand,
    reply::{json, refuse},
};
use crate::{
    base::{clock::Timestamp, metrics::Metrics},
    http::body::Body,
};

/// The outcomes of the last reloads.
#[derive(Debug)]
pub(super) struct Reloads {
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
        metrics.configuration.reloaded(Some(now));
        let status = ConfigurationStatus { in_effect_since: now.rfc3339(), reload_failed_at: None };
        Self { status: Mutex::new(status), metrics }
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
}

impl State {
    /// Answers `POST /reload` of `caller`.
    pub(super) async fn reload(&self, caller: &str) -> Response<Body> {
        tracing::info!(caller, "a reload was requested");
        match self.commands.request(OperatorCommand::Reload).await {
            Some(Ok(reloaded)) => json(StatusCode::OK, &reloaded),
            Some(Err(error)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error),
            None => refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "this Forebay does not reload: it is stopping, or it is a demo",
            ),
        }
    }
}
