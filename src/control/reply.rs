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
    let mut response = protected(content_type, Body::full(content.into()));
    *response.status_mut() = status;
    response
}

/// A response that is neither stored, nor taken for another type, nor loaded by pages of other origins.
pub(super) fn protected(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
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
