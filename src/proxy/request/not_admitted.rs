//! Why a request is not admitted.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::rejection::Rejection;
use crate::{
    base::metrics::ResultType,
    behavior::RuleMatches,
    http::{
        body::Body,
        cache_status::{CacheStatus, Report},
    },
    proxy::response::proxy_response::{Head, ProxyResponse},
};

/// Why a request is not admitted.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    /// It is rejected.
    Rejected(Rejection),
    /// A rule of the behavior redirects the viewer.
    Redirected(RuleRedirect),
}

/// A redirect by a rule.
#[derive(Debug)]
pub(crate) struct RuleRedirect {
    pub(crate) status: StatusCode,
    /// The value of `Location`.
    pub(crate) location: HeaderValue,
    /// The rules that apply.
    pub(crate) matches: RuleMatches,
    /// Whether it depends on more than method and URL.
    pub(crate) depends_on_viewer: bool,
}

impl From<Rejection> for NotAdmitted {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl RuleRedirect {
    /// The token in logs.
    pub(crate) const TOKEN: &str = "rule-redirect";

    pub(crate) fn into_answer(self) -> ProxyResponse {
        let mut fields = HeaderMap::from_iter([(header::LOCATION, self.location)]);
        if self.depends_on_viewer {
            // A 301 could be reused for other viewers (RFC 9111 §4.2.2).
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let mut report = Report::new(CacheStatus::Local);
        report.detail = Some(Self::TOKEN);
        let head = Head::Page(self.status, fields);
        ProxyResponse::new(head, Body::empty(), ResultType::Redirect, report)
    }
}
