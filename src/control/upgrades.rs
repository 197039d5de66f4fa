//! Replacing the process by a new one.

use http::{Response, StatusCode};

use super::{
    State,
    operator_commands::OperatorCommand,
    reply::{json, refuse},
};
use crate::http::body::Body;

impl State {
    /// Answers `POST /upgrade` of `caller`.
    pub(super) async fn upgrade(&self, caller: &str) -> Response<Body> {
        tracing::info!(caller, "an upgrade was requested");
        match self.commands.request(OperatorCommand::Upgrade).await {
            Some(Ok(upgraded)) => json(StatusCode::OK, &upgraded),
            Some(Err(error)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error),
            None => refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "this Forebay cannot be replaced: it is stopping, or it is a demo",
            ),
        }
    }
}
