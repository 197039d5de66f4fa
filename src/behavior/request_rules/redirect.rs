//! How viewers are redirected.

use http::{HeaderValue, StatusCode};

use super::{RuleEnd, RuleInput};

/// How viewers are redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub(crate) status: StatusCode,
    /// Whether a target without a query gets the request's.
    pub(crate) keeps_query: bool,
}

impl Redirect {
    /// The redirect to a target.
    pub(super) fn to(
        self,
        mut location: String,
        has_query: bool,
        input: &RuleInput<'_>,
    ) -> Option<RuleEnd> {
        if self.keeps_query
            && !has_query
            && let Some(query) = input.query()
        {
            // A fragment is last.
            let at = location.find('#').unwrap_or(location.len());
            location.insert_str(at, &format!("?{query}"));
        }
        let location = HeaderValue::try_from(location).ok()?;
        Some(RuleEnd::Redirect { status: self.status, location })
    }
}
