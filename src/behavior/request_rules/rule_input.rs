//! The request as rules see it, beside its path.

use std::{borrow::Cow, cell::OnceCell};

use http::request::Parts;

use crate::{access::signed::QUERY_NAMES, cache::key::PathForm, http::query};

/// The request as rules see it, beside its path.
pub(crate) struct RuleInput<'a> {
    pub(super) form: PathForm,
    /// The host without its port, in lower case.
    pub(super) host: Cow<'a, str>,
    pub(super) request: &'a Parts,
    /// Whether the query may have a signature, which must not leave the behavior.
    is_signed: bool,
    find_country: &'a dyn Fn() -> Option<&'a str>,
    country: OnceCell<Option<&'a str>>,
}

impl<'a> RuleInput<'a> {
    pub(crate) fn new(
        form: PathForm,
        host: &'a str,
        request: &'a Parts,
        is_signed: bool,
        find_country: &'a dyn Fn() -> Option<&'a str>,
    ) -> Self {
        let has_capitals = host.bytes().any(|byte| byte.is_ascii_uppercase());
        let host =
            if has_capitals { host.to_ascii_lowercase().into() } else { Cow::Borrowed(host) };
        Self { form, host, request, is_signed, find_country, country: OnceCell::new() }
    }

    /// The code of the viewer's country, if known.
    pub(super) fn country(&self) -> Option<&'a str> {
        *self.country.get_or_init(self.find_country)
    }

    /// The query that a redirect may pass on.
    pub(super) fn query(&self) -> Option<Cow<'a, str>> {
        let query = self.request.uri.query()?;
        if !self.is_signed {
            return Some(Cow::Borrowed(query));
        }
        let is_kept = |pair: &str| !QUERY_NAMES.contains(&query::name_and_value(pair).0);
        query::select(query, is_kept).map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn signatures_are_left_out() {
        let request = Request::builder().uri("/a?x=1&Signature=s&Expires=2&y");
        let (request, ()) = request.body(()).expect("a request").into_parts();
        let query = |is_signed| {
            let input = RuleInput::new(PathForm::Key, "a", &request, is_signed, &|| None);
            input.query().map(Cow::into_owned)
        };
        assert_eq!(query(true).as_deref(), Some("x=1&y"));
        assert_eq!(query(false).as_deref(), request.uri.query());
    }
}
