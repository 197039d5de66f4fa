//! Helpers that several log formats share.

use http::HeaderValue;

use crate::http::query::{name_and_value, pairs};

/// Query parameters whose values would let a log reader act as the viewer.
const SECRET: [&str; 6] =
    ["Signature", "Policy", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential", "token"];

/// Writes a decimal point and `N` digits.
pub(super) fn push_decimals<const N: usize>(line: &mut Vec<u8>, mut value: u32) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (value % 10) as u8;
        value /= 10;
    }
    line.push(b'.');
    line.extend_from_slice(&digits);
}

/// Redacts a referring URL, because it may be a signed URL.
pub(super) fn redact_url(url: &HeaderValue) -> std::borrow::Cow<'_, [u8]> {
    match String::from_utf8_lossy(url.as_bytes()).split_once('?') {
        Some((page, query)) => format!("{page}?{}", redact(query)).into_bytes().into(),
        None => url.as_bytes().into(),
    }
}

/// Redacts the secret values of a query string.
pub(super) fn redact(query: &str) -> String {
    let mut text = String::with_capacity(query.len());
    for (index, pair) in pairs(query).enumerate() {
        if index > 0 {
            text.push('&');
        }
        match name_and_value(pair) {
            (name, Some(_)) if SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret)) => {
                text.push_str(name);
                text.push_str("=REDACTED");
            }
            _ => text.push_str(pair),
        }
    }
    text
}
