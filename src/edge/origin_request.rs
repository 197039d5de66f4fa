//! Requests to origins: the only way from the edge to an origin.

use http::{StatusCode, header};

use super::Edge;
use crate::{
    behavior::Behavior,
    body::Body,
    origin::{Answer, Group, OriginRequest, Reply},
    store::Failure,
};

impl Edge {
    /// Sends a request to an origin group. Errors are logged; the viewer gets the failure.
    pub(super) async fn ask_origin(
        &self,
        group: &Group,
        behavior: &Behavior,
        request: OriginRequest<'_>,
        body: Option<Body>,
    ) -> Result<Answer, Failure> {
        let Reply { answer, by, passed_over } = group.send(request, body).await;
        if let Some((origin, error)) = passed_over {
            self.troubles.failure(&origin, &error);
        }
        let mut answer = answer.map_err(|error| self.troubles.failure(&by, &error))?;
        if !behavior.forwards_cookies() {
            answer.fields.remove(header::SET_COOKIE);
        }
        if answer.bucket && answer.status == StatusCode::FORBIDDEN {
            self.troubles.denied(&by);
        }
        Ok(answer)
    }
}
