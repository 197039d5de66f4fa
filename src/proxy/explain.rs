//! `explain` describes the plan for a request in words. It fetches, stores and records nothing.

use std::{sync::Arc, time::Duration};

use super::{
    cache_plan::{Bypass, CachePlan, Staleness},
    context::Edge,
    explain_rejection::RejectedRequest,
    explain_rules::{described_rules, redirected, unauthorized},
    explanation::{Explanation, Next, OriginError, VALID_HERE, Variants},
    fetch::upstream::Upstream,
    request::{
        admission::{AdmittedRequest, Route},
        connection::Connection,
        incoming::{IncomingRequest, Purpose},
        not_admitted::{NotAdmitted, Unauthorized},
        rejection::{Rejection, is_error},
        routing::{Distribution, Rules},
        variant_slot::key_of,
    },
    respond::select::{Unmet, select},
    response::proxy_response::Part,
    service::MAX_VERIFICATIONS,
};
use crate::{
    access::passwords::Verdict,
    base::{clock::Timestamp, metrics::ResultType},
    cache::{
        key::Projection,
        policy::NotStored,
        store::{Lookup, Peeked, Presence, PurgeMode, Reader, StoredResponse},
    },
    http::framing,
    origin::Origin,
};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};

impl Edge {
    /// Explains how the edge would handle a request.
    pub async fn explain(
        self: &Arc<Self>,
        request: Parts,
        connection: &Arc<Connection>,
    ) -> Explanation {
        let (now, rules) = (self.clock.now(), self.rules());
        let incoming = IncomingRequest::new(&rules, connection, request, now, Purpose::Explain);
        self.explain_incoming(&rules, &incoming, MAX_VERIFICATIONS).await
    }

    async fn explain_incoming(
        self: &Arc<Self>,
        rules: &Rules,
        incoming: &IncomingRequest,
        verifications: usize,
    ) -> Explanation {
        let request = &incoming.request;
        let framing = framing::check(&request.headers, request.version);
        let framing = framing.map_err(Rejection::Framing);
        let route = match framing.and_then(|()| Route::of(rules, incoming)) {
            Ok(route) => route,
            Err(rejection) => return rejected(rules, rejection, None, incoming),
        };
        let (distribution, behavior) = (route.distribution, route.behavior());
        let length = request.headers.get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
        let has_content = request.headers.contains_key(header::TRANSFER_ENCODING)
            || length.is_some_and(|length| length != b"0");
        match route.admit(rules, incoming, has_content, &self.steps) {
            Ok(admitted) => self.explain_admitted(&admitted, incoming.at).await,
            Err(NotAdmitted::Redirected(redirect)) => {
                let rules = described_rules(behavior, redirect.matches);
                Explanation { rules, ..redirected(&redirect, distribution, request) }
            }
            Err(NotAdmitted::Unauthorized(Unauthorized { login, matches, .. })) => {
                let verdict = match &login {
                    Some(login) => Some(self.passwords.verify(login).await),
                    None => None,
                };
                if verdict == Some(Verdict::Right) && verifications > 0 {
                    let explained = self.explain_incoming(rules, incoming, verifications - 1);
                    return Box::pin(explained).await;
                }
                let described = described_rules(behavior, matches);
                Explanation { rules: described, ..unauthorized(verdict, distribution, request) }
            }
            Err(NotAdmitted::Rejected(rejection)) => {
                let matches = rejection.rules().unwrap_or_default();
                let described = described_rules(behavior, matches);
                let known = rejected(rules, rejection, Some(distribution), incoming);
                Explanation { rules: described, ..known }
            }
        }
    }

    async fn explain_admitted(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        now: Timestamp,
    ) -> Explanation {
        let resource = admitted.key();
        let peeked = self.store.peek(&resource, now).await;
        let (key, peeked, variants) = match peeked.lookup {
            Lookup::Varies(variants) => {
                let key = variants.variation.key(&resource, &admitted.forwarded());
                (key.clone(), self.store.peek(&key, now).await, Some(variants))
            }
            _ => (resource, peeked, None),
        };
        let Peeked { lookup: found, purged, is_only_on_disk } = peeked;
        let mut stored = match &found {
            Lookup::Response(response) => Some(self.summarize(response, admitted, now)),
            _ => None,
        };
        if let Some(stored) = stored.as_mut().filter(|_| is_only_on_disk) {
            stored.in_memory = "disk".into();
        }
        let plan = CachePlan::of(admitted, now, self.store.may_reuse(), || (key, found));
        let signature =
            match (&admitted.behavior.trusted, &admitted.distribution.settings.public_scheme) {
                (Some(_), Some(_)) => VALID_HERE,
                (Some(_), None) => "valid",
                (None, _) => "not needed",
            };
        let mode = |mode| if mode == PurgeMode::Hard { "hard" } else { "soft" };
        let origin_errors = origin_errors(admitted, now);
        let mut next = self.next(admitted, &plan, variants.is_some(), purged, now);
        if let Some(why) = admitted.ignored_upgrade() {
            next.why.push_str("; `Upgrade` is ignored, because ");
            next.why.push_str(why);
        }
        if plan.needs_origin() && !origin_errors.is_empty() {
            next.why.push_str("; if the origin fails again, the response is an error");
        }
        let known = Explanation::of_route(admitted.distribution, admitted.request);
        let path = admitted.path.as_str();
        let is_rewritten = known.path.as_deref() != Some(path);
        Explanation {
            signature: Some(signature.to_owned()),
            rules: described_rules(Some(admitted.behavior), admitted.rules.matches),
            rewritten: is_rewritten.then(|| path.to_owned()),
            owner: self.owner(admitted),
            key: parts_of(&admitted.projection),
            stored,
            next,
            variants: variants.map(|variants| Variants {
                vary: variants.variation.names().iter().map(ToString::to_string).collect(),
                count: variants.count(),
            }),
            purged: purged.map(|purged| mode(purged).to_owned()),
            origin_errors,
            ..known
        }
    }

    /// Describes the plan in words.
    fn next(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        plan: &CachePlan,
        varies: bool,
        purged: Option<PurgeMode>,
        now: Timestamp,
    ) -> Next {
        let why = match plan {
            CachePlan::Serve { response, staleness, .. } => {
                let mut why = describe(*staleness).to_owned();
                if self.store.reuse_detail().is_some() {
                    why.push_str(
                        ", but this node is cut off from its cluster: it may have been purged",
                    );
                }
                return self.hit(admitted, response, &why);
            }
            CachePlan::Bypass(why) => &bypassed(*why),
            CachePlan::Fetch { stored: None, .. } => match purged {
                Some(_) => "it was purged after it was stored",
                None if varies => "no stored variant matches the fields of this request",
                None => "nothing is stored under this key",
            },
            CachePlan::Fetch { stored: Some(_), .. } if !self.store.may_reuse() => {
                "this node is cut off from its cluster"
            }
            CachePlan::Fetch { stored: Some(_), .. } if purged.is_some() => {
                "a purge marked it as stale"
            }
            CachePlan::Fetch { stored: Some(response), .. }
                if response.content_state.is_head_only() && *admitted.method == Method::GET =>
            {
                "only the response to a HEAD is stored"
            }
            CachePlan::Fetch { stored: Some(response), .. } if response.freshness.is_fresh(now) => {
                "it is fresh, but the request demands validation"
            }
            CachePlan::Fetch { stored: Some(_), .. } => "it is stale",
        };
        if admitted.directives().only_if_cached {
            let why = format!("the request has only-if-cached, and {why}");
            return Next::new(ResultType::Error, why);
        }
        match plan {
            CachePlan::Fetch { stored: Some(response), .. }
                if response.content_state.is_head_only() =>
            {
                Next::new(ResultType::Miss, why)
            }
            CachePlan::Fetch { stored: Some(response), .. } if !response.has_validator() => {
                Next::new(
                    ResultType::Miss,
                    format!("{why}, and it has neither ETag nor Last-Modified to validate it with"),
                )
            }
            CachePlan::Fetch { stored: Some(response), .. } => {
                let result = if is_error(response.status) {
                    ResultType::Error
                } else {
                    ResultType::RefreshHit
                };
                let why = format!(
                    "{why}, so Forebay validates it with the origin; a changed object is a Miss"
                );
                Next::new(result, why)
            }
            _ => Next::new(ResultType::Miss, why),
        }
    }

    /// The outcome if `response` is served.
    fn hit(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        response: &Arc<StoredResponse>,
        why: &str,
    ) -> Next {
        match self.presence(response, admitted) {
            Err(Unmet::Precondition) => {
                Next::new(ResultType::Error, "412: a precondition of the request failed")
            }
            Err(Unmet::Range) => {
                Next::new(ResultType::Error, "416: the range is outside the object")
            }
            _ if response.status == StatusCode::NOT_FOUND => Next::new(
                ResultType::Error,
                format!("the origin has no such object: its 404 is cached, and {why}"),
            ),
            _ if is_error(response.status) => {
                Next::new(ResultType::Error, format!("the origin's error is cached, and {why}"))
            }
            Ok(Presence::Missing) => Next::new(
                ResultType::Miss,
                format!("{why}, but bytes that the request needs are missing"),
            ),
            Ok(Presence::Stored | Presence::OnDisk | Presence::Arriving) => {
                Next::new(ResultType::Hit, why)
            }
        }
    }

    /// Checks whether the bytes that the response needs are in the store.
    pub(super) fn presence(
        self: &Arc<Self>,
        response: &Arc<StoredResponse>,
        admitted: &AdmittedRequest<'_>,
    ) -> Result<Presence, Unmet> {
        let all = 0..response.length();
        let bytes = match select(admitted, response)? {
            Part::Head | Part::NotModified => 0..0,
            _ if *admitted.method == Method::HEAD => 0..0,
            Part::Whole => all,
            Part::Bytes(bytes) => bytes,
            Part::Several(parts) => {
                let ends = (parts.ranges().next(), parts.ranges().last());
                let (first, last) = (ends.0.map(|first| first.start), ends.1.map(|last| last.end));
                first.unwrap_or(0)..last.unwrap_or(all.end)
            }
        };
        if bytes.is_empty() || response.content.bytes().is_some() {
            return Ok(Presence::Stored);
        }
        let source = Arc::new(Upstream::new(self, admitted));
        let (store, key) = (Arc::clone(&self.store), key_of(admitted, response));
        let reader = Reader::new(store, key, Arc::clone(response), source, bytes.clone());
        Ok(reader.presence(&bytes))
    }
}

/// Why a request bypasses the cache.
fn bypassed(why: Bypass) -> String {
    match why {
        Bypass::Method => "responses to this method are not cached".into(),
        Bypass::Upgrade => "the request asks to switch protocols, for example to WebSocket".into(),
        Bypass::Disabled => "the cache policy stores nothing: its maximum TTL is 0".into(),
        Bypass::NoStore => "the request has no-store, and the cache policy honors it".into(),
        Bypass::HitForMiss(why) => not_stored(why),
    }
}

fn not_stored(why: NotStored) -> String {
    let why = match why {
        NotStored::CachingDisabled => "the cache policy stores nothing",
        NotStored::NoStore => "it has Cache-Control: no-store",
        NotStored::Private => "it has Cache-Control: private",
        NotStored::VaryAny => "it has Vary: *",
        NotStored::Authorization => {
            "the request had Authorization, and the response does not allow sharing"
        }
        NotStored::Status => "responses with its status are not stored",
        NotStored::SetCookie => "it has Set-Cookie, and the behavior has no `cache_set_cookie`",
        NotStored::Useless => "it is stale on arrival and cannot be validated",
        NotStored::TooLong => "it is too long",
        NotStored::Unfinished => "it did not arrive completely",
    };
    format!(
        "the last response could not be stored, because {why}; for a short time each request goes to the origin"
    )
}

const fn describe(staleness: Staleness) -> &'static str {
    match staleness {
        Staleness::Fresh => "it is fresh",
        Staleness::Allowed => {
            "it is stale, but may be served: the origin failed a moment ago, or the request allows it"
        }
        Staleness::Revalidate => {
            "it is stale, but may be served while it is validated (stale-while-revalidate)"
        }
    }
}

/// How long an origin's error is shown.
const RECENT: Duration = Duration::from_secs(600);

fn origin_errors(admitted: &AdmittedRequest<'_>, now: Timestamp) -> Vec<OriginError> {
    let members = admitted.distribution.origins[admitted.behavior.origin].members();
    let error = |origin: &Arc<Origin>| {
        let last = origin.current_error(now)?;
        let age = now.since(last.at);
        (age <= RECENT).then(|| OriginError {
            origin: origin.options().id.clone(),
            seconds_ago: age.as_secs(),
            error: last.text.clone(),
            fix: last.advice.clone(),
        })
    };
    members.filter_map(error).collect()
}

fn rejected(
    rules: &Rules,
    rejection: Rejection,
    distribution: Option<&Arc<Distribution>>,
    incoming: &IncomingRequest,
) -> Explanation {
    let request = &incoming.request;
    let known = distribution
        .map(|distribution| Explanation::of_route(distribution, request))
        .unwrap_or_default();
    let next = match rejection {
        Rejection::RedirectToHttps { .. } => {
            Next::new(ResultType::Redirect, "the viewer is redirected to HTTPS")
        }
        Rejection::Preflight => {
            Next::new(ResultType::Hit, "the response headers policy answers preflights")
        }
        _ => Next::new(ResultType::Error, "refused before the cache lookup"),
    };
    let refused = RejectedRequest { rules, distribution, incoming }.explain(rejection);
    let signature = matches!(rejection, Rejection::Signed(_)).then(|| refused.why.clone());
    Explanation { refused: Some(refused), signature, next, ..known }
}

/// The parts of a projection, one per line.
fn parts_of(projection: &Projection<'_>) -> Vec<String> {
    let query = projection.query.iter().map(|query| format!("?{query}"));
    let fields = projection.headers.iter();
    let fields = fields
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    let cookies = projection.cookies.iter();
    let cookies = cookies.map(|cookies| format!("cookie: {}", String::from_utf8_lossy(cookies)));
    query.chain(fields).chain(cookies).collect()
}
