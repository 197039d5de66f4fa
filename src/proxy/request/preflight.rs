//! CORS preflights: a browser sends one to find out which cross-origin requests are allowed (Fetch standard,
//! "CORS-preflight request").

use http::{HeaderName, HeaderValue, Method, header, request::Parts};

use crate::behavior::Behavior;

/// The request headers of a preflight.
static FIELDS: [HeaderName; 3] =
    [header::ORIGIN, header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_REQUEST_HEADERS];

/// Whether a request is a preflight.
pub(crate) fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(header::ORIGIN)
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether the request is a preflight that the behavior's response headers policy answers. The methods that the
/// behavior allows do not matter.
pub(crate) fn is_answered_preflight(behavior: &Behavior, request: &Parts) -> bool {
    let policy = behavior.response_headers.as_ref();
    policy.is_some_and(|policy| policy.cors.is_some()) && is_preflight(request)
}

/// Adds the headers of a preflight, unless a policy already added them.
pub(crate) fn add_fields(request: &Parts, fields: &mut Vec<(HeaderName, HeaderValue)>) {
    for name in &FIELDS {
        if !fields.iter().any(|(added, _)| added == name) {
            let values = request.headers.get_all(name).iter();
            fields.extend(values.map(|value| (name.clone(), value.clone())));
        }
    }
}
