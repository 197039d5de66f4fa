//! What a cache policy takes from a request, besides its path.

use std::{borrow::Cow, collections::BTreeSet};

use http::{HeaderName, HeaderValue, header, request::Parts};

/// Which names of a kind (query strings, cookies) a policy includes, in CloudFront's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NameSpec {
    /// `none`.
    #[default]
    None,
    /// `whitelist`: only these.
    Only(BTreeSet<String>),
    /// `allExcept`: all but these.
    Except(BTreeSet<String>),
    /// `all`.
    All,
}

impl NameSpec {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Only(names) => names.contains(name),
            Self::Except(names) => !names.contains(name),
            Self::All => true,
        }
    }

    /// Keeps the pairs whose names are included, in their order and spelling.
    fn select<'a>(&self, text: &'a str, separator: char, join: &str) -> Option<Cow<'a, str>> {
        match self {
            Self::None => None,
            Self::All => Some(Cow::Borrowed(text)),
            Self::Only(_) | Self::Except(_) => {
                let kept: Vec<&str> = text
                    .split(separator)
                    .map(str::trim)
                    .filter(|pair| !pair.is_empty())
                    .filter(|pair| self.includes(pair.split('=').next().unwrap_or_default()))
                    .collect();
                (!kept.is_empty()).then(|| Cow::Owned(kept.join(join)))
            }
        }
    }
}

/// The part of a cache policy that decides what is in the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySpec {
    /// Query strings.
    pub query: NameSpec,
    /// Header fields, in the policy's order.
    pub headers: Vec<HeaderName>,
    /// Cookies.
    pub cookies: NameSpec,
}

/// A request seen through a [`KeySpec`]: all that its key and its origin request may depend on,
/// besides method and path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection<'a> {
    /// The query string, without `?`.
    pub query: Option<Cow<'a, str>>,
    /// Header fields with their values.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// One `Cookie` field value.
    pub cookies: Option<String>,
}

impl KeySpec {
    /// Takes from the request what this specification names. `host` is the authority the viewer
    /// asked for, wherever the protocol version carries it.
    #[must_use]
    pub fn project<'a>(&self, request: &'a Parts, host: &str) -> Projection<'a> {
        let query = request.uri.query().and_then(|query| self.query.select(query, '&', "&"));
        let mut headers = Vec::new();
        for name in &self.headers {
            if *name == header::HOST {
                headers.extend(HeaderValue::from_str(host).ok().map(|host| (name.clone(), host)));
            } else {
                let values = request.headers.get_all(name);
                headers.extend(values.iter().map(|value| (name.clone(), value.clone())));
            }
        }
        Projection { query, headers, cookies: self.cookies(request) }
    }

    fn cookies(&self, request: &Parts) -> Option<String> {
        if self.cookies == NameSpec::None {
            return None;
        }
        let lines = request.headers.get_all(header::COOKIE);
        let kept: Vec<Cow<'_, str>> = lines
            .iter()
            .filter_map(|line| line.to_str().ok())
            .filter_map(|line| self.cookies.select(line, ';', "; "))
            .collect();
        (!kept.is_empty()).then(|| kept.join("; "))
    }
}

impl Projection<'_> {
    /// Appends the projection to a key. Each part begins with a control character of its own,
    /// so that no two projections are written alike.
    pub(super) fn append_to_key(&self, key: &mut Vec<u8>) {
        const QUERY: u8 = 1;
        const FIELD: u8 = 2;
        const VALUE: u8 = 3;
        const COOKIES: u8 = 4;
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
            key.extend_from_slice(cookies.as_bytes());
        }
    }

    /// The same projection, independent of the request it was made from.
    #[must_use]
    pub fn into_owned(self) -> Projection<'static> {
        Projection {
            query: self.query.map(|query| Cow::Owned(query.into_owned())),
            headers: self.headers,
            cookies: self.cookies,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn query_strings_keep_order_and_spelling() {
        let query = "b=2&a=1&c&a=%31";
        for (spec, expected) in [
            (NameSpec::None, None),
            (NameSpec::All, Some(query)),
            (NameSpec::Only(names(&["a"])), Some("a=1&a=%31")),
            (NameSpec::Only(names(&["x"])), None),
            (NameSpec::Except(names(&["a"])), Some("b=2&c")),
        ] {
            assert_eq!(spec.select(query, '&', "&").as_deref(), expected, "{spec:?}");
        }
    }

    #[test]
    fn cookies_of_all_lines_become_one() {
        let request = Request::builder()
            .header("cookie", "a=1;b=2")
            .header("cookie", "c=3")
            .body(())
            .expect("request")
            .into_parts()
            .0;
        let spec = KeySpec { cookies: NameSpec::Except(names(&["b"])), ..KeySpec::default() };
        assert_eq!(spec.project(&request, "").cookies.as_deref(), Some("a=1; c=3"));
    }

    #[test]
    fn the_host_comes_from_the_authority() {
        let request = Request::builder().body(()).expect("request").into_parts().0;
        let spec = KeySpec { headers: vec![header::HOST], ..KeySpec::default() };
        assert_eq!(spec.project(&request, "h").headers[0].1, "h");
    }
}
