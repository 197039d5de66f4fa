//! Variants of one resource: responses told apart by the fields that `Vary` names.

use http::{HeaderMap, HeaderName, header};
use sha2::{Digest, Sha256};

use super::{CacheKey, ForwardSpec, KeySpec, Projection};
use crate::http::{coding::Codings, fields::names};

/// The request fields that tell the variants of a resource apart (RFC 9110 §12.5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variation(Box<[HeaderName]>);

impl Variation {
    /// Reads a response's `Vary`. A field that origin requests do not carry varies nothing; one
    /// that is in the key tells requests apart already.
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

    /// The names of the fields.
    #[must_use]
    pub const fn names(&self) -> &[HeaderName] {
        &self.0
    }

    /// The key of the variant that a request selects, `request` being what origin requests carry
    /// of it.
    ///
    /// RFC 9111 §4.1: values are compared with their lines combined and without white space.
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
            let lines = lines.map(|(_, value)| value.as_bytes());
            for line in lines.chain(cookies) {
                for member in line.split(|byte| *byte == b',') {
                    digest.update([VALUE]);
                    digest.update(member.trim_ascii());
                }
            }
        }
        let mut bytes = resource.as_bytes().to_vec();
        bytes.push(VARIANT);
        bytes.extend_from_slice(&digest.finalize());
        CacheKey(bytes.into_boxed_slice())
    }
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
