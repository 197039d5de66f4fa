//! The answers of rules in words.

use std::sync::Arc;

use http::request::Parts;

use super::{
    explanation::{ExplainedRejection, Explanation, Next},
    request::{
        not_admitted::{RuleRedirect, Unauthorized},
        routing::Distribution,
    },
};
use crate::{
    access::passwords::Verdict,
    base::metrics::ResultType,
    behavior::{Behavior, RuleMatches},
};

/// The explanation of a redirect by a rule.
pub(super) fn redirected(
    redirect: &RuleRedirect,
    distribution: &Arc<Distribution>,
    request: &Parts,
) -> Explanation {
    let known = Explanation::of_route(distribution, request);
    let (status, location) = (redirect.status.as_u16(), redirect.location.to_str());
    let why = format!("a rule redirects with {status} to {}", location.unwrap_or_default());
    Explanation { next: Next::new(ResultType::Redirect, why), ..known }
}

/// The explanation of a request without a valid password.
pub(super) fn unauthorized(
    verdict: Option<Verdict>,
    distribution: &Arc<Distribution>,
    request: &Parts,
) -> Explanation {
    let why = match verdict {
        None => "a rule requires a user name and a password, and the request has none",
        Some(Verdict::Busy) => {
            "a rule requires a user name and a password, and too many others are being verified"
        }
        Some(_) => "a rule requires a user name and a password, and those of the request are wrong",
    };
    let fix = "pass them with -H 'Authorization: Basic …', in Base64".to_owned();
    let (status, reason) = (Unauthorized::STATUS.as_u16(), Unauthorized::TOKEN.to_owned());
    Explanation {
        refused: Some(ExplainedRejection { status, reason, why: why.to_owned(), fix: Some(fix) }),
        next: Next::new(ResultType::Error, "refused before the cache lookup"),
        ..Explanation::of_route(distribution, request)
    }
}

/// The rules of a behavior that apply, in words.
pub(super) fn described_rules(
    behavior: Option<&Arc<Behavior>>,
    matches: RuleMatches,
) -> Vec<String> {
    let rules = behavior.and_then(|behavior| behavior.rules.as_ref());
    rules.map(|rules| rules.describe(matches)).unwrap_or_default()
}
