//! What is requested again of a logged request.

use http::HeaderValue;

use crate::{access::signed, access_log::LoggedRequest};

/// Whether the response had content of the object, or confirmed it.
pub(super) fn is_success(logged: &LoggedRequest) -> bool {
    logged.status.is_none_or(|status| matches!(status, 200..=299 | 304))
}

/// The requested range.
pub(super) fn range(logged: &LoggedRequest) -> Option<HeaderValue> {
    let range = logged.range.as_ref().filter(|range| range.starts_with("bytes="))?;
    HeaderValue::try_from(range).ok()
}

/// Path and query without the signature, which logs do not hold in full. `None` if this is not a GET.
pub(super) fn target(logged: &LoggedRequest) -> Option<String> {
    let can_be_asked = logged.method == "GET" && logged.path.starts_with('/');
    can_be_asked.then(|| signed::unsigned_target(&logged.path, logged.query.as_deref()))
}
