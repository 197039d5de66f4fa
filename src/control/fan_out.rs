//! Copies invalidations to CloudFront for distributions that have a counterpart there.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::{
    State,
    invalidation::{Elsewhere, Invalidation},
    xml,
};
use crate::{
    aws::{describe, text_of},
    outbound::{Service, WholeAnswer},
};

/// Marks a request as a copy, which is not copied again. The environment may point
/// CloudFront's endpoint at Forebay.
pub(super) const COPY: &str = "x-forebay-copy";

/// An error from CloudFront with its code, or the reason for not reaching it.
pub(super) struct FanOutError {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) reason: String,
}

/// Creates an invalidation at CloudFront and returns its id and status there.
pub(super) async fn create(
    state: &State,
    distribution: &str,
    invalidation: &Invalidation,
) -> Result<Elsewhere, FanOutError> {
    let target = format!("/2020-05-31/distribution/{distribution}/invalidation");
    let batch = xml::batch(&invalidation.items, &invalidation.caller_reference);
    let answer = ask(state, (Method::POST, &target), batch.into()).await?;
    let id =
        text_of(&answer.content, "Id").filter(|id| !id.is_empty()).ok_or_else(|| FanOutError {
            status: StatusCode::BAD_GATEWAY,
            code: "ServiceUnavailable".to_owned(),
            reason: "CloudFront's response contains no invalidation".to_owned(),
        })?;
    let is_completed = text_of(&answer.content, "Status").as_deref() == Some("Completed");
    Ok(Elsewhere { distribution: distribution.to_owned(), id, is_completed })
}

/// Fetches the status of an invalidation at CloudFront.
pub(super) async fn look(state: &State, elsewhere: &Elsewhere) -> Result<Elsewhere, FanOutError> {
    let Elsewhere { distribution, id, .. } = elsewhere;
    let target = format!("/2020-05-31/distribution/{distribution}/invalidation/{id}");
    let is_completed = match ask(state, (Method::GET, &target), Bytes::new()).await {
        Ok(answer) => text_of(&answer.content, "Status").as_deref() == Some("Completed"),
        // An invalidation that CloudFront no longer knows is complete.
        Err(refused) if refused.code == "NoSuchInvalidation" => true,
        Err(refused) => return Err(refused),
    };
    Ok(Elsewhere { is_completed, ..elsewhere.clone() })
}

async fn ask(
    state: &State,
    request: (Method, &str),
    content: Bytes,
) -> Result<WholeAnswer, FanOutError> {
    let unreachable = |reason: String| FanOutError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "ServiceUnavailable".to_owned(),
        reason,
    };
    let service = Service::of_aws("cloudfront", "us-east-1");
    let service = service.map_err(|error| unreachable(error.to_string()))?;
    let keys = state.credentials.current();
    let keys = keys.ok_or_else(|| unreachable("no AWS credentials are loaded".to_owned()))?;
    let fields = HeaderMap::from_iter([(
        http::HeaderName::from_static(COPY),
        HeaderValue::from_static("1"),
    )]);
    let answer = service.call(Some(&keys), request, fields, content).await;
    let answer = answer.map_err(|error| unreachable(describe(&error)))?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    let field = |name| text_of(&answer.content, name);
    Err(FanOutError {
        status: answer.status,
        code: field("Code").unwrap_or_else(|| "ServiceUnavailable".to_owned()),
        reason: field("Message")
            .unwrap_or_else(|| format!("CloudFront answered {}", answer.status)),
    })
}
