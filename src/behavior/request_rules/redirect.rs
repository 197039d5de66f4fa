//! Redirects of viewers.

use http::{HeaderValue, StatusCode};

use super::{RuleAnswer, RuleInput};

/// A kind of redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub(crate) status: StatusCode,
    /// Whether a target without a query gets the request's.
    pub(crate) keeps_query: bool,
}

impl Redirect {
    /// The statuses of redirects.
    pub(crate) const STATUSES: [StatusCode; 5] = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];

    /// The status of a redirect with this number.
    pub(crate) fn status(number: u64) -> Option<StatusCode> {
        Self::STATUSES.into_iter().find(|status| u64::from(status.as_u16()) == number)
    }

    /// The redirect to a location.
    pub(super) fn to(
        self,
        mut location: String,
        input: &RuleInput<'_>,
        depends_on_viewer: bool,
    ) -> RuleAnswer {
        if self.keeps_query
            && !location.contains('?')
            && let Some(query) = input.query()
        {
            // A fragment is last.
            let at = location.find('#').unwrap_or(location.len());
            location.insert_str(at, &format!("?{query}"));
        }
        let status = self.status;
        HeaderValue::try_from(location).map_or(RuleAnswer::Deny, |location| RuleAnswer::Redirect {
            status,
            location,
            depends_on_viewer,
        })
    }
}
