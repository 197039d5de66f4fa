//! What rules know of a request.

use std::borrow::Cow;

use http::request::Parts;

use crate::{access::signed::QUERY_NAMES, cache::key::PathForm, http::query};

/// What rules know of a request.
#[derive(Clone, Copy)]
pub(crate) struct RuleInput<'a> {
    /// The path as patterns see it.
    pub(crate) path: &'a str,
    pub(crate) form: PathForm,
    /// The host without its port.
    pub(crate) host: &'a str,
    pub(crate) request: &'a Parts,
    /// Whether the query may have a signature, which must not leave the behavior.
    pub(crate) is_signed: bool,
    /// The code of the viewer's country, if known.
    pub(crate) country: &'a dyn Fn() -> Option<&'a str>,
}

impl<'a> RuleInput<'a> {
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
        let input = |is_signed| RuleInput {
            path: "/a",
            form: PathForm::Key,
            host: "a",
            request: &request,
            is_signed,
            country: &|| None,
        };
        assert_eq!(input(true).query().as_deref(), Some("x=1&y"));
        assert_eq!(input(false).query().as_deref(), request.uri.query());
    }
}
