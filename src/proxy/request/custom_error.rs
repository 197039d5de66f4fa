//! Custom error responses, as they are configured
//! (Amazon CloudFront Developer Guide, "Generate custom error responses").

use http::StatusCode;

/// Status codes that a page can replace, and that it can be sent with.
pub const REPLACEABLE: [u16; 11] = [400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504];

/// A page of the site that replaces an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// The error.
    pub error: StatusCode,
    /// Path of the page.
    pub path: String,
    /// The status that it is sent with.
    pub response_code: StatusCode,
}
