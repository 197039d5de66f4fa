//! Responses and errors of CloudFront's API.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode};

use super::auth::Denied;

/// A successful response.
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) document: String,
    pub(super) location: Option<HeaderValue>,
    pub(super) etag: Option<String>,
}

impl ApiResponse {
    pub(super) const fn found(document: String) -> Self {
        Self { status: StatusCode::OK, document, location: None, etag: None }
    }
}

/// An error with a code that AWS's clients know.
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: Cow<'static, str>,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    pub(super) fn no_distribution(id: &str) -> Self {
        let message = format!("there is no distribution `{id}`");
        Self::new(StatusCode::NOT_FOUND, "NoSuchDistribution", message)
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let status = match denied {
            Denied::Incomplete | Denied::Skewed => StatusCode::BAD_REQUEST,
            _ => StatusCode::FORBIDDEN,
        };
        Self::new(status, denied.code(), denied.to_string())
    }
}
