//! Cookies of requests.

use http::{HeaderMap, HeaderValue, header};

/// The cookies of all `Cookie` lines in their order, as `name=value` without the spaces around it. They need not be text
/// (RFC 6265 §5.4).
pub(crate) fn cookies(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = fields.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let cookies = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    cookies.map(<[u8]>::trim_ascii).filter(|cookie| !cookie.is_empty())
}
