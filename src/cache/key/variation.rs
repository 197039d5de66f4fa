//! Variants of one resource: responses that differ by the fields that `Vary` names.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};
use sha2::{Digest, Sha256};

use super::{CacheKey, ForwardSpec, KeySpec, Projection};
use crate::http::{
    coding::{Codings, in_thousandths},
    fields::names,
};

/// The request fields that select a variant of a resource (RFC 9110 §12.5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variation(Box<[HeaderName]>);

impl Variation {
    /// Reads a response's `Vary`. Fields that origin requests do not carry are ignored, and so are fields
    /// that are in the key already.
    #[must_use]
    pub fn read(response: &HeaderMap, forward: &ForwardSpec, key: &KeySpec) -> Option<Self> {
        if !response.contains_key(header::VARY) {
            return None;
        }
        let varies = |name: &HeaderName| match *name {
            header::COOKIE => forward.cookies != key.cookies,
            header::ACCEPT_ENCODING if key.codings != Codings::NONE => false,
            _ => forward.headers.includes(name) && !key.headers.contains(name),
        };
        let mut fields: Vec<_> =
            names(response, &header::VARY).filter_map(Result::ok).filter(varies).collect();
        fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        (!fields.is_empty()).then(|| Self(fields.into()))
    }

    /// A variation by fields that [`Self::names`] gave earlier.
    #[must_use]
    pub fn of(names: Vec<HeaderName>) -> Self {
        Self(names.into())
    }

    /// The names of the fields.
    #[must_use]
    pub const fn names(&self) -> &[HeaderName] {
        &self.0
    }

    /// The key of the variant that a request selects. `request` is the projection that origin requests carry.
    ///
    /// RFC 9111 §4.1: values are compared with their lines combined and without white space. Languages are
    /// compared by preference.
    #[must_use]
    pub fn key(&self, resource: &CacheKey, request: &Projection<'_>) -> CacheKey {
        const VARIANT: u8 = 5;
        const VALUE: u8 = 6;
        // Viewers choose the values, so only their digest is kept, whatever their length.
        let mut digest = Sha256::new();
        for name in &self.0 {
            digest.update([VARIANT]);
            digest.update(name.as_str());
            let lines = request.headers.iter().filter(|(field, _)| field == name);
            let cookies = request.cookies.as_deref().filter(|_| *name == header::COOKIE);
            let lines = lines.map(|(_, value)| value.as_bytes()).chain(cookies);
            let members = lines.flat_map(|line| line.split(|byte| *byte == b','));
            let mut members: Vec<Cow<'_, [u8]>> =
                members.map(|member| Cow::Borrowed(member.trim_ascii())).collect();
            if *name == header::ACCEPT_LANGUAGE {
                by_preference(&mut members);
            }
            for member in members {
                digest.update([VALUE]);
                digest.update(member);
            }
        }
        let mut bytes = resource.as_bytes().to_vec();
        bytes.push(VARIANT);
        bytes.extend_from_slice(&digest.finalize());
        CacheKey(bytes.into_boxed_slice())
    }
}

/// Sorts the members of `Accept-Language` by weight, then by name. Language tags are case-insensitive
/// (RFC 4647 §2), and a weight of 1 is the default (RFC 9110 §12.4.2).
fn by_preference(members: &mut Vec<Cow<'_, [u8]>>) {
    let mut ranges: Vec<(u16, Vec<u8>)> = Vec::with_capacity(members.len());
    for member in members.iter().filter(|member| !member.is_empty()) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let language = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.next().map_or(Some(1000), thousandths);
        match weight.filter(|_| parts.next().is_none()) {
            Some(weight) => ranges.push((weight, language)),
            // Not valid by the RFC: compared as is.
            None => return,
        }
    }
    ranges.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.cmp(other)));
    // No field value contains the separator byte, so a malformed list never equals a well-formed one.
    let text = |(weight, language): (u16, Vec<u8>)| {
        Cow::Owned([&language, &[0][..], weight.to_string().as_bytes()].concat())
    };
    *members = ranges.into_iter().map(text).collect();
}

/// A weight such as `q=0.8` in thousandths; `None` if it is malformed.
fn thousandths(weight: &[u8]) -> Option<u16> {
    let (name, value) = std::str::from_utf8(weight).ok()?.split_once('=')?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let most = if whole == "0" { b'9' } else { b'0' };
    let is_weight = matches!(whole, "0" | "1")
        && fraction.len() <= 3
        && fraction.bytes().all(|digit| (b'0'..=most).contains(&digit));
    (name.eq_ignore_ascii_case("q") && is_weight).then(|| in_thousandths(value))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;
    use crate::cache::key::{CanonicalPath, HeaderSpec, NameSpec, PathForm};

    fn variant(vary: &[&'static str], fields: &[(&str, &str)]) -> Option<CacheKey> {
        let all = ForwardSpec {
            headers: HeaderSpec::Except {
                names: vec![HeaderName::from_static("hidden")],
                added: Vec::new(),
            },
            cookies: NameSpec::All,
            ..ForwardSpec::default()
        };
        let key = KeySpec { headers: vec![header::ORIGIN], ..KeySpec::default() };
        let response: HeaderMap =
            vary.iter().map(|line| (header::VARY, HeaderValue::from_static(line))).collect();
        let mut request = Request::builder().uri("/a");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("request").into_parts().0;
        let path = CanonicalPath::resolve("/a", PathForm::Key).expect("path");
        let resource = CacheKey::new("m", &path, &Projection::default());
        let variation = Variation::read(&response, &all, &key)?;
        let key = variation.key(&resource, &all.project(&request, "h"));
        assert_eq!(key.resource(), resource.resource());
        Some(key)
    }

    #[test]
    fn only_what_origins_see_and_keys_lack_varies() {
        for vary in [&[][..], &["hidden"], &["Origin"], &["*"], &[" , "]] {
            assert_eq!(variant(vary, &[]), None, "{vary:?}");
        }
        assert!(variant(&["Foo"], &[]).is_some());
        assert!(variant(&["origin", "hidden, foo"], &[]).is_some());
    }

    #[test]
    fn languages_are_compared_by_preference() {
        let of = |value: &str| variant(&["Accept-Language"], &[("accept-language", value)]);
        for same in ["en, de", "de,en", "EN,de", "de;q=1,en", "en;q=1.0 , de; Q=1", ",en,,de"] {
            assert_eq!(of(same), of("en,de"), "{same}");
        }
        assert_eq!(of("en;q=0.8, de, fr;q=0.8"), of("de,fr;q=0.80,en;q=0.800"));
        for other in [
            "en",
            "en,de;q=0.9",
            "en;q=0.9,de",
            "en,de,fr",
            "en;x=1,de",
            "en;q=2,de",
            "en;1000,de;1000",
            "en;q = 1,de",
        ] {
            assert_ne!(of(other), of("en,de"), "{other}");
        }
    }

    #[test]
    fn values_are_compared_without_white_space_and_order_of_lines() {
        let foo = |fields: &[(&str, &str)]| variant(&["Foo, Cookie"], fields);
        assert_eq!(foo(&[("foo", "1, 2")]), foo(&[("foo", "1"), ("foo", "2")]));
        assert_eq!(foo(&[("foo", " 1,2 ")]), foo(&[("foo", "1, 2"), ("bar", "3")]));
        assert_ne!(foo(&[("foo", "1")]), foo(&[("foo", "2")]));
        assert_ne!(foo(&[("foo", "1")]), foo(&[]));
        assert_ne!(foo(&[("foo", "")]), foo(&[]));
        assert_ne!(foo(&[("foo", "12")]), foo(&[("foo", "1,2")]));
        assert_ne!(foo(&[("cookie", "a=1")]), foo(&[("cookie", "a=2")]));
        assert_eq!(variant(&["foo", "bar"], &[]), variant(&["Bar, Foo, foo"], &[]));
    }
}
