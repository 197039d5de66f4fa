//! The projection of a request by a cache policy: query strings, header fields and cookies.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, header, request::Parts};

use super::name_spec::NameSpec;
use crate::http::{
    coding::Codings,
    cookies::{cookies, staging_cookie},
    field_table::RequestField,
    fields::connection_names,
    query::{self, name_and_value, pairs},
};

/// The part of a cache policy that defines the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySpec {
    /// Query strings.
    pub query: NameSpec,
    /// Header fields, in the policy's order.
    pub headers: Vec<HeaderName>,
    /// Cookies.
    pub cookies: NameSpec,
    /// Codings that `Accept-Encoding` is normalized to.
    pub codings: Codings,
    /// Whether query strings are sorted, so that their order does not change the key.
    pub sort_query: bool,
}

/// The parts of the viewer's request that an origin request carries: the whole key, and the additions
/// of an origin request policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardSpec {
    /// Query strings.
    pub query: NameSpec,
    /// Header fields.
    pub headers: HeaderSpec,
    /// Cookies.
    pub cookies: NameSpec,
    /// Codings that `Accept-Encoding` is normalized to.
    pub codings: Codings,
    /// Whether query strings are sorted, as in the key.
    pub sort_query: bool,
}

/// The header fields that an origin request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSpec {
    /// `whitelist`: only these.
    Only(Vec<HeaderName>),
    /// `allExcept`: all fields that the viewer sends but these; `allViewer` if there are none.
    Except {
        /// Fields that are not carried.
        names: Vec<HeaderName>,
        /// CloudFront's fields about the viewer, which the edge adds.
        added: Vec<HeaderName>,
    },
}

impl Default for HeaderSpec {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

impl HeaderSpec {
    /// Whether a field of this name is carried, if the request has it.
    #[must_use]
    pub fn includes(&self, name: &HeaderName) -> bool {
        match self {
            Self::Only(names) => names.contains(name),
            Self::Except { names, added } => {
                let is_added = name.as_str().starts_with(ABOUT_VIEWERS);
                if is_added { added.contains(name) } else { !names.contains(name) }
            }
        }
    }

    /// Whether origins receive the edge's fields about the viewer.
    #[must_use]
    pub fn describe_viewers(&self) -> bool {
        match self {
            Self::Only(names) => names.iter().any(is_about_viewers),
            Self::Except { .. } => true,
        }
    }
}

/// The prefix of fields that the edge adds.
const ABOUT_VIEWERS: &str = "cloudfront-";

/// Networks that already forwarded the request (RFC 8586).
pub(crate) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

impl ForwardSpec {
    /// Adds the key's names: an origin must see everything that distinguishes requests.
    #[must_use]
    pub fn with_key(self, key: &KeySpec) -> Self {
        let headers = match self.headers {
            HeaderSpec::Only(mut names) => {
                names.extend(key.headers.iter().cloned());
                names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
                names.dedup();
                HeaderSpec::Only(names)
            }
            HeaderSpec::Except { mut names, mut added } => {
                names.retain(|name| !key.headers.contains(name));
                let about = key.headers.iter().filter(|n| n.as_str().starts_with(ABOUT_VIEWERS));
                added.extend(about.cloned());
                HeaderSpec::Except { names, added }
            }
        };
        Self {
            query: self.query.union(&key.query),
            headers,
            cookies: self.cookies.union(&key.cookies),
            codings: key.codings,
            sort_query: key.sort_query,
        }
    }

    /// Selects the parts of the request that this specification names.
    #[must_use]
    pub fn project<'a>(&self, request: &'a Parts, host: &str) -> Projection<'a> {
        let mut headers = Vec::new();
        if self.headers.includes(&header::HOST) {
            headers.extend(HeaderValue::from_str(host).ok().map(|host| (header::HOST, host)));
        }
        let connection = named_by_connection(request);
        for (name, value) in &request.headers {
            let is_sent = match RequestField::of(name) {
                RequestField::ByPolicy | RequestField::Described => {
                    !connection.contains(name) && self.headers.includes(name)
                }
                // RFC 8586 §2: it must not be removed. Its length was checked at admission.
                RequestField::Written => *name == CDN_LOOP,
                RequestField::Connection | RequestField::Removed => false,
            };
            if is_sent {
                headers.push((name.clone(), value.clone()));
            }
        }
        headers.extend(accept_encoding(self.codings, request));
        if self.codings == Codings::NONE && self.headers.includes(&header::ACCEPT_ENCODING) {
            let values = request.headers.get_all(header::ACCEPT_ENCODING).iter();
            headers.extend(values.map(|value| (header::ACCEPT_ENCODING, value.clone())));
        }
        Projection {
            query: select_query(&self.query, self.sort_query, request),
            headers,
            cookies: select_cookies(&self.cookies, request),
            preflight: false,
        }
    }
}

/// The fields that the viewer's `Connection` names. A viewer cannot remove the edge's fields about the viewer.
fn named_by_connection(request: &Parts) -> Vec<HeaderName> {
    let mut names = connection_names(&request.headers);
    names.retain(|name| !is_about_viewers(name));
    names
}

fn is_about_viewers(name: &HeaderName) -> bool {
    RequestField::of(name) == RequestField::Described
}

fn accept_encoding(codings: Codings, request: &Parts) -> Option<(HeaderName, HeaderValue)> {
    if codings == Codings::NONE {
        return None;
    }
    codings.accepted(&request.headers).map(|value| (header::ACCEPT_ENCODING, value))
}

/// The query strings that `spec` includes, as the viewer spelled them, in their order unless they are sorted.
fn select_query<'a>(spec: &NameSpec, sort: bool, request: &'a Parts) -> Option<Cow<'a, str>> {
    let query = request.uri.query()?;
    let query = match spec {
        NameSpec::None => return None,
        NameSpec::All => Cow::Borrowed(query),
        _ => Cow::Owned(query::select(query, |pair| {
            !pair.is_empty() && spec.includes(name_and_value(pair).0.as_bytes())
        })?),
    };
    if !sort || !query.contains('&') {
        return Some(query);
    }
    // Sorted by name only: values of the same name keep their order.
    let mut sorted: Vec<&str> = pairs(&query).filter(|pair| !pair.is_empty()).collect();
    sorted.sort_by_key(|pair| name_and_value(pair).0);
    Some(Cow::Owned(sorted.join("&")))
}

/// The cookies that `spec` includes, from all `Cookie` lines, as one field value. Cookies are bytes:
/// RFC 6265 §5.4 lets user agents send values that are not text.
fn select_cookies(spec: &NameSpec, request: &Parts) -> Option<Vec<u8>> {
    if *spec == NameSpec::None {
        return None;
    }
    let kept: Vec<&[u8]> = match spec {
        NameSpec::All if staging_cookie(&request.headers).is_none() => {
            let lines = request.headers.get_all(header::COOKIE).iter();
            lines.map(HeaderValue::as_bytes).collect()
        }
        NameSpec::All => cookies(&request.headers).collect(),
        _ => cookies(&request.headers).filter(|cookie| spec.includes_pair(cookie)).collect(),
    };
    (!kept.is_empty()).then(|| kept.join(&b"; "[..]))
}

/// The projection of a request by a specification: besides method and path, its key or its origin
/// request depends on nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection<'a> {
    /// The query string, without `?`.
    pub query: Option<Cow<'a, str>>,
    /// Header fields with their values.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// One `Cookie` field value.
    pub cookies: Option<Vec<u8>>,
    /// Whether the request is a preflight, whose method is OPTIONS.
    pub preflight: bool,
}

impl KeySpec {
    /// Selects the parts of the request that this specification names. `host` is the requested authority,
    /// from `Host` or `:authority`.
    #[must_use]
    pub fn project<'a>(&self, request: &'a Parts, host: &str) -> Projection<'a> {
        let mut headers = Vec::new();
        // Fields that origins do not see are not in the key either. Most keys have no fields.
        let read = !self.headers.is_empty();
        let connection = if read { named_by_connection(request) } else { Vec::new() };
        for name in self.headers.iter().filter(|name| !connection.contains(name)) {
            if *name == header::HOST {
                headers.extend(HeaderValue::from_str(host).ok().map(|host| (name.clone(), host)));
            } else {
                let values = request.headers.get_all(name);
                headers.extend(values.iter().map(|value| (name.clone(), value.clone())));
            }
        }
        headers.extend(accept_encoding(self.codings, request));
        Projection {
            query: select_query(&self.query, self.sort_query, request),
            headers,
            cookies: select_cookies(&self.cookies, request),
            preflight: false,
        }
    }
}

impl Projection<'_> {
    /// Appends the projection to a key. Each part begins with a different control character, so that no two
    /// projections have the same bytes.
    pub(super) fn append_to_key(&self, key: &mut Vec<u8>) {
        const QUERY: u8 = 1;
        const FIELD: u8 = 2;
        const VALUE: u8 = 3;
        const COOKIES: u8 = 4;
        const PREFLIGHT: u8 = 5;
        if let Some(query) = &self.query {
            key.push(QUERY);
            key.extend_from_slice(query.as_bytes());
        }
        for (name, value) in &self.headers {
            key.push(FIELD);
            key.extend_from_slice(name.as_str().as_bytes());
            key.push(VALUE);
            key.extend_from_slice(value.as_bytes());
        }
        if let Some(cookies) = &self.cookies {
            key.push(COOKIES);
            key.extend_from_slice(cookies);
        }
        if self.preflight {
            key.push(PREFLIGHT);
        }
    }

    /// The same projection, independent of the request it was made from.
    #[must_use]
    pub fn into_owned(self) -> Projection<'static> {
        Projection {
            query: self.query.map(|query| Cow::Owned(query.into_owned())),
            headers: self.headers,
            cookies: self.cookies,
            preflight: self.preflight,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::Request;

    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    fn request(target: &str, cookies: &[&[u8]]) -> Parts {
        let mut request = Request::builder().uri(target);
        for line in cookies {
            request = request.header("cookie", *line);
        }
        request.body(()).expect("request").into_parts().0
    }

    #[test]
    fn query_strings_keep_order_and_spelling() {
        let query = "b=2&a=1&c&a=%31";
        let request = request(&format!("/?{query}"), &[]);
        for (spec, expected) in [
            (NameSpec::None, None),
            (NameSpec::All, Some(query)),
            (NameSpec::Only(names(&["a"])), Some("a=1&a=%31")),
            (NameSpec::Only(names(&["x"])), None),
            (NameSpec::Except(names(&["a"])), Some("b=2&c")),
        ] {
            assert_eq!(select_query(&spec, false, &request).as_deref(), expected, "{spec:?}");
        }
    }

    #[test]
    fn cookies_of_all_lines_become_one() {
        let request = request("/", &[b"a=1;b=2", b"c=3"]);
        let spec = NameSpec::Except(names(&["b"]));
        assert_eq!(select_cookies(&spec, &request).as_deref(), Some(&b"a=1; c=3"[..]));
    }

    #[test]
    fn cookies_that_are_not_text_are_kept() {
        let request = request("/", &[b"a=\xe9; b=2", b"\xff=3", b"c=4"]);
        for (spec, expected) in [
            (NameSpec::All, Some(&b"a=\xe9; b=2; \xff=3; c=4"[..])),
            (NameSpec::Only(names(&["a"])), Some(b"a=\xe9")),
            (NameSpec::Except(names(&["a"])), Some(b"b=2; \xff=3; c=4")),
            (NameSpec::Only(names(&["x"])), None),
        ] {
            assert_eq!(select_cookies(&spec, &request).as_deref(), expected, "{spec:?}");
        }
    }

    #[test]
    fn the_host_comes_from_the_authority() {
        let request = Request::builder().body(()).expect("request").into_parts().0;
        let spec = KeySpec { headers: vec![header::HOST], ..KeySpec::default() };
        assert_eq!(spec.project(&request, "h").headers[0].1, "h");
    }
}
