//! Responses of the admin listener.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::http::{body::Body, framing::FramingError};

#[derive(Debug, Serialize)]
struct ErrorReply {
    error: String,
}

pub(super) fn text(
    status: StatusCode,
    content_type: &'static str,
    content: String,
) -> Response<Body> {
    let mut response = Response::new(Body::full(content.into()));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Pages of other origins must not load it as a script or a picture.
    let same_origin = HeaderValue::from_static("same-origin");
    fields.insert(HeaderName::from_static("cross-origin-resource-policy"), same_origin);
    response
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut content = serde_json::to_string(value).unwrap_or_default();
    content.push('\n');
    text(status, "application/json", content)
}

pub(super) fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    json(status, &ErrorReply { error: message.to_owned() })
}

pub(super) fn refuse_framing(error: FramingError) -> Response<Body> {
    let message = match error {
        FramingError::TransferCoding => "`Transfer-Encoding` may only be `chunked`",
        FramingError::Malformed => "`Transfer-Encoding` is malformed",
        FramingError::Expectation => "`Expect` may only be `100-continue`",
    };
    let mut response = refuse(error.status(), message);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

pub(super) fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
