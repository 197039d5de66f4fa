//! The conditions of a rule.

use std::fmt;

use http::{HeaderName, Method};

use super::{PathCondition, RuleInput};
use crate::{
    base::glob::{matches_bytes, matches_characters},
    http::{cookies::cookies, field_table::RequestField, query},
};

/// The conditions of a rule. A request must meet all of them; one that is empty is met by every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) path: PathCondition,
    /// Patterns for the host in lower case, of which one must match.
    pub(crate) hosts: Vec<String>,
    /// Methods, of which one must be the request's.
    pub(crate) methods: Vec<Method>,
    /// Codes of countries, of which one must be the viewer's.
    pub(crate) countries: Vec<String>,
    /// Names and patterns for the values of query parameters, as they are written in the URL.
    pub(crate) query: Vec<(String, String)>,
    /// Names and patterns for the values of header fields.
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// Names and patterns for the values of cookies.
    pub(crate) cookies: Vec<(String, String)>,
}

impl Conditions {
    /// Whether a request with this path, decoded as for path patterns, meets all conditions.
    pub(super) fn are_met(&self, input: &RuleInput<'_>, path: &str) -> bool {
        self.path.is_met_by(path)
            && (self.hosts.is_empty()
                || self.hosts.iter().any(|pattern| matches_characters(pattern, &input.host)))
            && (self.methods.is_empty() || self.methods.contains(&input.request.method))
            && self.query_is_met(input)
            && self.headers_are_met(input)
            && self.cookies_are_met(input)
            && self.country_is_met(input)
    }

    /// Whether the conditions depend on more than method and URL, so that a response is not for everyone.
    pub(super) fn depend_on_viewer(&self) -> bool {
        !(self.countries.is_empty() && self.headers.is_empty() && self.cookies.is_empty())
    }

    /// Whether a condition reads fields in which the edge describes the viewer.
    pub(super) fn read_descriptions(&self) -> bool {
        self.headers.iter().any(|(name, _)| RequestField::of(name) == RequestField::Described)
    }

    fn query_is_met(&self, input: &RuleInput<'_>) -> bool {
        self.query.iter().all(|(name, pattern)| {
            let pairs = input.request.uri.query().into_iter().flat_map(query::pairs);
            pairs.map(query::name_and_value).any(|(own, value)| {
                own == name && matches_characters(pattern, value.unwrap_or_default())
            })
        })
    }

    fn headers_are_met(&self, input: &RuleInput<'_>) -> bool {
        self.headers.iter().all(|(name, pattern)| {
            let mut lines = input.request.headers.get_all(name).iter();
            lines.any(|value| matches_bytes(pattern.as_bytes(), value.as_bytes()))
        })
    }

    fn cookies_are_met(&self, input: &RuleInput<'_>) -> bool {
        self.cookies.iter().all(|(name, pattern)| {
            cookies(&input.request.headers).any(|cookie| {
                let value = cookie.strip_prefix(name.as_bytes());
                let value = value.and_then(|value| value.strip_prefix(b"="));
                value.is_some_and(|value| matches_bytes(pattern.as_bytes(), value))
            })
        })
    }

    fn country_is_met(&self, input: &RuleInput<'_>) -> bool {
        self.countries.is_empty()
            || input.country().is_some_and(|own| self.countries.iter().any(|code| code == own))
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        let lists = [
            ("host", self.hosts.join(", ")),
            ("method", self.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")),
            ("country", self.countries.join(", ")),
        ];
        for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
            write!(f, ", {name} {list}")?;
        }
        let headers = self.headers.iter().map(|(name, pattern)| ("header", name.as_str(), pattern));
        let query = self.query.iter().map(|(name, pattern)| ("query", name.as_str(), pattern));
        let cookies = self.cookies.iter().map(|(name, pattern)| ("cookie", name.as_str(), pattern));
        for (kind, name, pattern) in query.chain(headers).chain(cookies) {
            write!(f, ", {kind} {name} = {pattern}")?;
        }
        Ok(())
    }
}
