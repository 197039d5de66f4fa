//! What a request says to prove its right: in the query string, or else in cookies.

use http::{HeaderMap, header};

use super::SignatureError;
use crate::http::query::{self, name_and_value, pairs};

/// The names of a signed URL's query strings.
pub(crate) const QUERY_NAMES: [&str; 5] =
    ["Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"];

/// The names of signed cookies, in the same order.
pub(crate) const COOKIE_NAMES: [&str; 5] = [
    "CloudFront-Expires",
    "CloudFront-Policy",
    "CloudFront-Signature",
    "CloudFront-Key-Pair-Id",
    "CloudFront-Hash-Algorithm",
];

/// Where the proof stands, which decides how a policy's resource is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignatureSource {
    Query,
    Cookies,
}

/// The values, in the order of the names.
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
    /// With any of the names in the query string, only that is looked at.
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
        let lines = fields.get_all(header::COOKIE).iter();
        for cookie in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')) {
            // Other cookies may hold any bytes. One of ours that is not text counts as empty, which is invalid.
            let (name, value) = split_at_equals(cookie);
            let Ok(name) = std::str::from_utf8(name.trim_ascii()) else { continue };
            // RFC 6265 §5.4: the cookie of the longest path comes first.
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

/// A query string without the names of a signed URL; the rest as it was.
#[must_use]
pub(crate) fn unsigned_query(query: &str) -> Option<String> {
    query::select(query, |pair| place_of(&QUERY_NAMES, name_and_value(pair).0).is_none())
}

/// The name and the value of a cookie.
fn split_at_equals(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&pair[..equals], &pair[equals + 1..]),
        None => (pair, &[]),
    }
}

fn place_of(names: &[&str; 5], name: &str) -> Option<usize> {
    names.iter().position(|known| *known == name)
}
