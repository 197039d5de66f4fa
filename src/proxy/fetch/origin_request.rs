//! Requests to origins: the only way from the edge to an origin.

use http::{Method, StatusCode, header};

use crate::{
    behavior::Behavior,
    cache::store::FetchError,
    http::body::Body,
    origin::{Group, OriginRequest, OriginResponse, Reply, Subject},
    proxy::context::Edge,
};

impl Edge {
    /// Sends a request to an origin group. Errors are logged; the viewer gets the failure.
    pub(crate) async fn ask_origin(
        &self,
        group: &Group,
        behavior: &Behavior,
        request: OriginRequest<'_>,
        body: Option<Body>,
    ) -> Result<OriginResponse, FetchError> {
        let is_about_object = request.method != Method::OPTIONS;
        let Reply { answer, by, passed_over } = group.send(&request, body).await;
        let subject = Subject::of(&request);
        if let Some((origin, error)) = passed_over {
            origin.log_error(&subject, &error);
        }
        let mut answer = answer.map_err(|error| by.log_error(&subject, &error))?;
        if !behavior.forwards_cookies() {
            answer.fields.remove(header::SET_COOKIE);
        }
        if answer.bucket && answer.status == StatusCode::FORBIDDEN && is_about_object {
            by.log_denial(&subject);
        }
        Ok(answer)
    }
}
