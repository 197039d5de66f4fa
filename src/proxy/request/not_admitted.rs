//! Why a request is not admitted.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::rejection::{Rejection, error};
use crate::{
    access::passwords::Login,
    base::metrics::ResultType,
    behavior::{RuleAnswer, RuleMatches},
    http::{body::Body, cache_status::Report},
    proxy::response::proxy_response::{Head, ProxyResponse},
};

/// Why a request is not admitted.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    /// It is rejected.
    Rejected(Rejection),
    /// A rule of the behavior redirects the viewer.
    Redirected(RuleRedirect),
    /// A rule of the behavior requires a user name and a password.
    Unauthorized(Unauthorized),
}

/// A request without a password that is known to be right.
#[derive(Debug)]
pub(crate) struct Unauthorized {
    /// The value of `WWW-Authenticate`.
    pub(crate) challenge: HeaderValue,
    /// Its name and password, to be verified.
    pub(crate) login: Option<Login>,
    /// The rules that apply.
    pub(crate) matches: RuleMatches,
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

impl NotAdmitted {
    /// The rules of the behavior that apply.
    pub(crate) fn rules(&self) -> RuleMatches {
        match self {
            Self::Rejected(rejection) => rejection.rules().unwrap_or_default(),
            Self::Redirected(redirect) => redirect.matches,
            Self::Unauthorized(unauthorized) => unauthorized.matches,
        }
    }

    /// The answer of a rule, with the rules that apply.
    pub(crate) fn by_rule(answer: RuleAnswer, matches: RuleMatches) -> Self {
        match answer {
            RuleAnswer::Deny => Rejection::DeniedByRule(matches).into(),
            RuleAnswer::Redirect { status, location, depends_on_viewer } => {
                Self::Redirected(RuleRedirect { status, location, matches, depends_on_viewer })
            }
            RuleAnswer::Unauthorized { challenge, login } => {
                Self::Unauthorized(Unauthorized { challenge, login, matches })
            }
        }
    }
}

impl From<Rejection> for NotAdmitted {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl Unauthorized {
    /// The token in logs and metrics.
    pub(crate) const TOKEN: &str = "unauthorized";

    /// The token for a login that cannot wait for a verification.
    pub(crate) const BUSY: &str = "too-many-logins";

    pub(crate) const STATUS: StatusCode = StatusCode::UNAUTHORIZED;

    /// The response that makes a browser ask for a user name and a password.
    pub(crate) fn into_answer(self) -> ProxyResponse {
        let fields = [
            (header::WWW_AUTHENTICATE, self.challenge),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        error(Self::STATUS, Report::local(Self::TOKEN), fields)
    }

    /// Refuses a request because too many logins wait.
    pub(crate) fn busy() -> ProxyResponse {
        let fields = [(header::RETRY_AFTER, 1.into())];
        error(StatusCode::SERVICE_UNAVAILABLE, Report::local(Self::BUSY), fields)
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
        let report = Report::local(Self::TOKEN);
        let head = Head::Page(self.status, fields);
        ProxyResponse::new(head, Body::empty(), ResultType::Redirect, report)
    }
}
