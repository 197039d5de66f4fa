//! The configuration of custom error responses
//! (Amazon CloudFront Developer Guide, "Generate custom error responses").

use http::StatusCode;

/// Status codes that a page can replace or be sent with.
pub const REPLACEABLE: [u16; 11] = [400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504];

/// A custom error page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// The status of the error.
    pub error: StatusCode,
    /// The path of the page.
    pub path: String,
    /// The status that the page is sent with.
    pub response_code: StatusCode,
}
