//! The part of CloudFront's API (2020-05-31) that an edge supports: invalidations, and read-only distributions.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use super::{
    State,
    api::{ApiError, ApiResponse},
    distributions, invalidations, xml,
};
use crate::http::body::Body;

/// A resource of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiResource<'a> {
    Distributions,
    Distribution(&'a str),
    DistributionConfig(&'a str),
    /// All invalidations of a distribution, or one of them.
    Invalidations(&'a str, Option<&'a str>),
    StreamingDistributions,
    /// A resource of CloudFront's API that an edge does not support.
    Other,
}

impl<'a> ApiResource<'a> {
    /// Parses a path that begins with an API version, such as `/2020-05-31/distribution`.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let is_version =
            |v: &str| v.len() == 10 && v.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        parts.next().filter(|version| is_version(version))?;
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        Some(match parts[..] {
            ["distribution"] => Self::Distributions,
            ["distribution", id] => Self::Distribution(id),
            ["distribution", id, "config"] => Self::DistributionConfig(id),
            ["distribution", id, "invalidation"] => Self::Invalidations(id, None),
            ["distribution", id, "invalidation", invalidation] => {
                Self::Invalidations(id, Some(invalidation))
            }
            ["streaming-distribution"] => Self::StreamingDistributions,
            _ => Self::Other,
        })
    }
}

/// Answers a request with XML, including errors.
pub(super) async fn answer(
    state: &State,
    request: &Parts,
    resource: ApiResource<'_>,
    content: Option<&[u8]>,
    client: IpAddr,
) -> Response<Body> {
    let request_id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let answered = act(state, request, resource, content, client).await;
    let answered = answered.unwrap_or_else(|ApiError { status, code, message }| ApiResponse {
        status,
        document: xml::error(status, &code, &message, &request_id),
        location: None,
        etag: None,
    });
    let mut response = Response::new(Body::full(answered.document.into()));
    *response.status_mut() = answered.status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let id = HeaderValue::try_from(request_id).ok();
    fields.extend(id.map(|id| (HeaderName::from_static("x-amzn-requestid"), id)));
    fields.extend(answered.location.map(|url| (header::LOCATION, url)));
    let etag = answered.etag.and_then(|etag| HeaderValue::try_from(etag).ok());
    fields.extend(etag.map(|etag| (header::ETAG, etag)));
    response
}

async fn act(
    state: &State,
    request: &Parts,
    resource: ApiResource<'_>,
    content: Option<&[u8]>,
    client: IpAddr,
) -> Result<ApiResponse, ApiError> {
    let Some(content) = content else {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "BatchTooLarge",
            "the batch is larger than 16 MiB, or larger than 1 MiB and from an unknown caller",
        ));
    };
    let caller = state.identify(request, content, client)?.to_string();
    // Held until the history has the outcome.
    let handing_over = state.handing_over.read().await;
    if *handing_over {
        // Clients of AWS repeat the request, which then reaches that process.
        let message = "another process of this Forebay is taking over: send the request again";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(ApiError::new(status, "ServiceUnavailable", message));
    }
    let is_read = request.method == Method::GET;
    match resource {
        ApiResource::Invalidations(distribution, id) => {
            invalidations::answer(state, request, (distribution, id), content, &caller).await
        }
        ApiResource::Distributions if is_read => distributions::list(state, request),
        ApiResource::Distribution(id) if is_read => distributions::get(state, id),
        ApiResource::DistributionConfig(id) if is_read => distributions::config(state, id),
        ApiResource::StreamingDistributions if is_read => distributions::no_streaming(request),
        _ => Err(ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            "Forebay supports invalidations, ListDistributions, GetDistribution and GetDistributionConfig only; to change the configuration, edit its file",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        for (path, expected) in [
            ("/2020-05-31/distribution", Some(ApiResource::Distributions)),
            ("/2020-05-31/distribution/", Some(ApiResource::Distributions)),
            ("/2020-05-31/distribution/E1", Some(ApiResource::Distribution("E1"))),
            ("/2020-05-31/distribution/E1/config", Some(ApiResource::DistributionConfig("E1"))),
            (
                "/2019-03-26/distribution/E1/invalidation",
                Some(ApiResource::Invalidations("E1", None)),
            ),
            (
                "/2020-05-31/distribution/E1/invalidation/I1",
                Some(ApiResource::Invalidations("E1", Some("I1"))),
            ),
            ("/2020-05-31/function", Some(ApiResource::Other)),
            ("/metrics", None),
            ("/2020-05-3x/distribution", None),
        ] {
            assert_eq!(ApiResource::parse(path), expected, "{path}");
        }
    }
}
