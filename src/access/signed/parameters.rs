//! The signature parameters of a request: from the query string, or else from cookies.

use http::HeaderMap;

use super::SignatureError;
use crate::http::{
    cookies::cookies,
    query::{self, name_and_value, pairs},
};

/// The query parameters of a signed URL.
pub(crate) const QUERY_NAMES: [&str; 5] =
    ["Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"];

/// The cookies of a signed request, in the same order.
pub(crate) const COOKIE_NAMES: [&str; 5] = [
    "CloudFront-Expires",
    "CloudFront-Policy",
    "CloudFront-Signature",
    "CloudFront-Key-Pair-Id",
    "CloudFront-Hash-Algorithm",
];

/// The source of a signature, which decides how a policy's resource is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignatureSource {
    Query,
    Cookies,
}

/// The parameter values, in the order of the names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters<'a> {
    pub(super) place: SignatureSource,
    pub(super) expires: Option<&'a str>,
    pub(super) policy: Option<&'a str>,
    pub(super) signature: Option<&'a str>,
    pub(super) key_pair_id: Option<&'a str>,
    pub(super) hash_algorithm: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    /// Reads the parameters. If the query string has any of them, cookies are ignored.
    pub(super) fn read(
        query: Option<&'a str>,
        fields: &'a HeaderMap,
    ) -> Result<Self, SignatureError> {
        let mut values = [None; 5];
        for (name, value) in query.into_iter().flat_map(pairs).map(name_and_value) {
            let Some(at) = place_of(&QUERY_NAMES, name) else { continue };
            if values[at].replace(value.unwrap_or_default()).is_some() {
                return Err(SignatureError::Repeated);
            }
        }
        if values.iter().any(Option::is_some) {
            return Ok(Self::from_values(SignatureSource::Query, values));
        }
        for cookie in cookies(fields) {
            // Other cookies may contain any bytes. One of ours that is not UTF-8 counts as empty, which is invalid.
            let (name, value) = split_at_equals(cookie);
            let Ok(name) = std::str::from_utf8(name.trim_ascii()) else { continue };
            // RFC 6265 §5.4: the cookie with the longest path is first.
            if let Some(at) = place_of(&COOKIE_NAMES, name) {
                let value = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
                values[at].get_or_insert(value);
            }
        }
        if values.iter().any(Option::is_some) {
            return Ok(Self::from_values(SignatureSource::Cookies, values));
        }
        Err(SignatureError::Unsigned)
    }

    fn from_values(place: SignatureSource, values: [Option<&'a str>; 5]) -> Self {
        let [expires, policy, signature, key_pair_id, hash_algorithm] = values;
        Self { place, expires, policy, signature, key_pair_id, hash_algorithm }
    }
}

/// A query string without the signed URL parameters; the rest is unchanged.
#[must_use]
pub(crate) fn unsigned_query(query: &str) -> Option<String> {
    query::select(query, |pair| place_of(&QUERY_NAMES, name_and_value(pair).0).is_none())
}

/// A path with its query, without the signed URL parameters.
#[must_use]
pub(crate) fn unsigned_target(path: &str, query: Option<&str>) -> String {
    match query.and_then(unsigned_query) {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    }
}

/// Splits a cookie into name and value.
fn split_at_equals(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&pair[..equals], &pair[equals + 1..]),
        None => (pair, &[]),
    }
}

fn place_of(names: &[&str; 5], name: &str) -> Option<usize> {
    names.iter().position(|known| *known == name)
}
