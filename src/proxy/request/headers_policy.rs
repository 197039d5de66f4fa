//! Response headers policies, applied to the headers of a response.

use std::{fmt::Write, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::preflight::is_preflight;
use crate::{
    base::{clock::Stopwatch, metrics::ResultType},
    behavior::{Behavior, Cors, RequestRules, ResponseHeadersPolicy, RuleMatches},
    outbound::Timing,
    proxy::response::identity::{Identity, RequestId},
};

/// The `Server-Timing` header (Server Timing, W3C).
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A policy, and the properties of the request that it depends on.
#[derive(Default)]
pub(crate) struct HeadersPolicy {
    policy: Option<Arc<ResponseHeadersPolicy>>,
    /// Rules that change more fields.
    rules: Option<(Arc<RequestRules>, RuleMatches)>,
    /// The request's `Origin`.
    origin: Option<HeaderValue>,
    preflight: bool,
    /// Whether this response gets a `Server-Timing` header.
    timed: bool,
}

/// The properties of a response that its headers report.
pub(crate) struct ResponseInfo<'a> {
    pub(crate) result: ResultType,
    pub(crate) timing: Option<&'a Timing>,
    pub(crate) id: RequestId,
    pub(crate) identity: &'a Identity,
    /// Runs since the request arrived.
    pub(crate) watch: Stopwatch,
}

impl HeadersPolicy {
    pub(crate) fn of(behavior: &Behavior, request: &Parts) -> Option<Self> {
        let policy = Arc::clone(behavior.response_headers.as_ref()?);
        let origin = request.headers.get(header::ORIGIN).cloned();
        let timed = policy.server_timing.is_some_and(|percent| {
            wants_timing(&request.headers) || fastrand::f64() * 100.0 < percent
        });
        let preflight = is_preflight(request);
        Some(Self { policy: Some(policy), rules: None, origin, preflight, timed })
    }

    /// Adds the rules of the behavior that match the request, if they change the response.
    pub(crate) fn with_rules(
        policy: Option<Self>,
        behavior: Option<&Arc<Behavior>>,
        matches: RuleMatches,
    ) -> Option<Self> {
        let rules = behavior.filter(|_| !matches.is_empty());
        let rules = rules.and_then(|behavior| behavior.rules.as_ref());
        match rules.filter(|rules| rules.changes_response(matches)) {
            Some(rules) => {
                let rules = Some((Arc::clone(rules), matches));
                Some(Self { rules, ..policy.unwrap_or_default() })
            }
            None => policy,
        }
    }

    pub(crate) fn apply(&self, fields: &mut HeaderMap, info: &ResponseInfo<'_>) {
        if let Some(policy) = &self.policy {
            policy.apply(fields, self.origin.as_ref(), self.preflight);
        }
        if let Some((rules, matches)) = &self.rules {
            rules.change_response(*matches, fields);
        }
        if self.timed
            && let Ok(value) = HeaderValue::try_from(info.server_timing())
        {
            fields.append(SERVER_TIMING, value);
        }
    }

    /// Whether the request is cross-origin; `None` if the policy's headers depend on more than that.
    pub(crate) fn is_cross_site(&self) -> Option<bool> {
        let cors = self.policy.as_ref().and_then(|policy| policy.cors.as_ref());
        let for_all = cors.is_none_or(Cors::is_for_all) && self.rules.is_none();
        (for_all && !self.timed && !self.preflight).then_some(self.origin.is_some())
    }
}

impl ResponseInfo<'_> {
    /// CloudFront's metrics (Amazon CloudFront Developer Guide, "Server-Timing header").
    fn server_timing(&self) -> String {
        let mut text = String::new();
        if let Some(Timing { dns, connect, first_byte }) = self.timing {
            text.push_str("cdn-upstream-layer;desc=\"EDGE\",");
            for (name, duration) in [("dns", dns), ("connect", connect), ("fbl", first_byte)] {
                // Writing to a String cannot fail.
                let _ = write!(text, "cdn-upstream-{name};dur={},", milliseconds(*duration));
            }
        }
        text.push_str(match self.result {
            ResultType::Hit => "cdn-cache-hit",
            ResultType::RefreshHit => "cdn-cache-refresh",
            ResultType::Miss | ResultType::Error | ResultType::Redirect => "cdn-cache-miss",
        });
        let pop = self.identity.pop.to_str().unwrap_or_default();
        let id = self.identity.id(&self.id);
        let id = String::from_utf8_lossy(&id);
        let _ = write!(text, ",cdn-pop;desc=\"{pop}\",cdn-rid;desc=\"{id}\"");
        if self.result == ResultType::Hit {
            text.push_str(",cdn-hit-layer;desc=\"EDGE\"");
        }
        let _ = write!(text, ",cdn-downstream-fbl;dur={}", milliseconds(self.watch.elapsed()));
        text
    }
}

fn milliseconds(duration: Duration) -> u128 {
    duration.as_millis()
}

/// Whether the request has `Pragma: server-timing`, which requests timing that is otherwise only sampled.
fn wants_timing(fields: &HeaderMap) -> bool {
    let lines = fields.get_all(header::PRAGMA).iter().filter_map(|line| line.to_str().ok());
    let mut words = lines.flat_map(|line| line.split(','));
    words.any(|word| word.trim().eq_ignore_ascii_case("server-timing"))
}
