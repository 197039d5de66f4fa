//! Cookies of requests.

use http::{HeaderMap, HeaderValue, header};

/// The cookie that keeps a viewer on one side of a staging configuration, with the `=` that follows its name.
pub(crate) const STAGING_COOKIE: &str = "forebay-staging=";

/// The value of that cookie.
pub(crate) fn staging_cookie(fields: &HeaderMap) -> Option<&[u8]> {
    all(fields).find_map(|cookie| cookie.strip_prefix(STAGING_COOKIE.as_bytes()))
}

/// The viewer's own cookies: those of all `Cookie` lines in their order, as `name=value` without the spaces around it, except
/// that of staging. They need not be text (RFC 6265 §5.4).
pub(crate) fn cookies(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    all(fields).filter(|cookie| !cookie.starts_with(STAGING_COOKIE.as_bytes()))
}

fn all(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = fields.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let cookies = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    cookies.map(<[u8]>::trim_ascii).filter(|cookie| !cookie.is_empty())
}
