//! Responses and errors of CloudFront's API.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode, request::Parts};

use super::auth::Denied;
use crate::http::query;

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

/// One page of a list, as the caller requested it.
pub(super) struct PageRequest {
    /// The page begins after this id; empty for the first page.
    pub(super) marker: String,
    /// Maximum number of items on the page.
    pub(super) most: usize,
}

impl PageRequest {
    /// Default and maximum number of items on a page.
    const MOST: usize = 100;

    pub(super) fn read(request: &Parts) -> Result<Self, ApiError> {
        let mut page = Self { marker: String::new(), most: Self::MOST };
        let query = request.uri.query().unwrap_or_default();
        for (name, value) in query::pairs(query).map(query::name_and_value) {
            match (name, value) {
                ("Marker", Some(value)) => value.clone_into(&mut page.marker),
                ("MaxItems", Some(value)) => {
                    let most = value.parse().ok().filter(|most| (1..=Self::MOST).contains(most));
                    let message = "MaxItems must be a number from 1 to 100";
                    page.most = most.ok_or_else(|| ApiError::invalid_argument(message))?;
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

/// An error with a code that AWS clients recognise.
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

    pub(super) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
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
