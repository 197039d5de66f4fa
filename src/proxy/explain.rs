//! What would become of a request, and why; nothing is asked, stored or recorded.

use std::sync::Arc;

use http::{HeaderName, Method, header, request::Parts};
use serde::{Deserialize, Serialize};

use super::{
    context::Edge,
    fetch::source::OriginSource,
    request::{
        admission::{AdmittedRequest, Route},
        connection::Connection,
        incoming::IncomingRequest,
        rejection::{Rejection, is_error},
        routing::Distribution,
        variant_slot::key_of,
    },
    respond::select::{Unmet, select},
    response::proxy_response::Part,
};
use crate::{
    base::{clock::Timestamp, metrics::ResultType},
    cache::{
        key::Projection,
        policy::{CachingRules, Reuse, Ttl},
        store::{Lookup, Presence, PurgeMode, Reader, StoredResponse},
    },
};

/// All that decides about a request, in the order in which it is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The distribution that has the host among its aliases.
    pub distribution: Option<String>,
    /// The resolved path, with the index document if it is a folder's.
    pub path: Option<String>,
    /// The path pattern of the behavior, or `default`.
    pub behavior: Option<String>,
    /// The ids of the origin, and of the one that stands in for it.
    pub origins: Vec<String>,
    /// Whether a signature was demanded, and found good.
    pub signature: Option<String>,
    /// Why the request is refused.
    pub refused: Option<ExplainedRejection>,
    /// What is in the cache key besides the path.
    pub key: Vec<String>,
    /// The request fields that tell stored variants apart, and how many there are.
    pub variants: Option<Variants>,
    /// What is stored.
    pub stored: Option<StoredSummary>,
    /// `hard` or `soft`, where a purge came after it was stored.
    pub purged: Option<String>,
    /// What the next request does.
    pub next: Next,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRejection {
    /// Status code.
    pub status: u16,
    /// The token that the access log tells.
    pub reason: String,
}

/// Variants of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variants {
    /// The names that tell them apart.
    pub vary: Vec<String>,
    /// How many are stored.
    pub count: usize,
}

/// A stored response, and how its freshness comes about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSummary {
    /// Status code.
    pub status: u16,
    /// Length of the content in bytes.
    pub length: u64,
    /// Whether the bytes that are asked for are in memory: `all`, `arriving` or `missing`.
    pub in_memory: String,
    /// The fields that say when it is fresh, and by which it is validated, as they are stored.
    pub fields: Vec<String>,
    /// What the policy allows.
    pub policy: String,
    /// Freshness lifetime in seconds, by fields and policy.
    pub lifetime: u64,
    /// Age in seconds.
    pub age: u64,
    /// Seconds of freshness that are left; negative where it is stale.
    pub fresh_for: i64,
}

/// What the next request does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// As `X-Cache` tells it.
    pub result: String,
    /// Why.
    pub why: String,
}

impl Next {
    fn new(result: ResultType, why: impl Into<String>) -> Self {
        Self { result: result.name().to_owned(), why: why.into() }
    }
}

impl Edge {
    /// Explains what would become of a request.
    #[must_use]
    pub fn explain(self: &Arc<Self>, request: Parts, connection: &Arc<Connection>) -> Explanation {
        let (now, rules) = (self.clock.now(), self.rules());
        let incoming = IncomingRequest {
            counts: false,
            ..IncomingRequest::new(&rules, connection, request, now)
        };
        let request = &incoming.request;
        let route = match Route::of(&rules, request) {
            Ok(route) => route,
            Err(refusal) => return refused(refusal, None, request),
        };
        let distribution = route.distribution;
        match route.admit(&rules, &incoming, false, &self.steps) {
            Ok(admitted) => self.explain_admitted(&admitted, now),
            Err(refusal) => refused(refusal, Some(distribution), request),
        }
    }

    fn explain_admitted(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        now: Timestamp,
    ) -> Explanation {
        let resource = admitted.key();
        let (found, mut purged) = self.store.peek(&resource, now);
        let (found, variants) = match found {
            Lookup::Varies(variants) => {
                let key = variants.variation.key(&resource, &admitted.forwarded());
                let (found, of_variant) = self.store.peek(&key, now);
                purged = of_variant;
                (found, Some(variants))
            }
            found => (found, None),
        };
        let response = match &found {
            Lookup::Response(response) => Some(response),
            _ => None,
        };
        let signature = if admitted.behavior.trusted.is_some() { "valid" } else { "not needed" };
        let mode = |mode| if mode == PurgeMode::Hard { "hard" } else { "soft" };
        Explanation {
            signature: Some(signature.to_owned()),
            key: told(&admitted.projection),
            stored: response.map(|response| self.tell_stored(response, admitted, now)),
            next: self.next(admitted, &found, variants.is_some(), purged, now),
            variants: variants.map(|variants| Variants {
                vary: variants.variation.names().iter().map(ToString::to_string).collect(),
                count: variants.count(),
            }),
            purged: purged.map(|purged| mode(purged).to_owned()),
            ..of(admitted.distribution, admitted.request)
        }
    }

    fn tell_stored(
        self: &Arc<Self>,
        response: &Arc<StoredResponse>,
        admitted: &AdmittedRequest<'_>,
        now: Timestamp,
    ) -> StoredSummary {
        let caching = &admitted.behavior.cache_policy.caching;
        let freshness = &response.freshness;
        let granted = freshness.fresh_until.since(freshness.received_at)
            + freshness.age(freshness.received_at);
        StoredSummary {
            status: response.status.as_u16(),
            length: response.length,
            in_memory: match self.presence(response, admitted) {
                Ok(Presence::Arriving) => "arriving",
                Ok(Presence::Missing) => "missing",
                Ok(Presence::Stored) | Err(_) => "all",
            }
            .to_owned(),
            fields: fields_of(response, caching),
            policy: policy(response, caching),
            lifetime: granted.as_secs(),
            age: freshness.age(now).as_secs(),
            fresh_for: freshness.ttl_seconds(now),
        }
    }

    /// The decisions of [`Edge::decide`] and [`Edge::answer`], in words.
    fn next(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        found: &Lookup,
        varies: bool,
        purged: Option<PurgeMode>,
        now: Timestamp,
    ) -> Next {
        let directives = admitted.directives();
        let miss = |why: &str| {
            if directives.only_if_cached {
                let why = format!("the request says only-if-cached, and {why}");
                Next::new(ResultType::Error, why)
            } else {
                Next::new(ResultType::Miss, why)
            }
        };
        let response = match found {
            _ if !matches!(*admitted.method, Method::GET | Method::HEAD) => {
                return miss("the method is none that a cache answers");
            }
            _ if !admitted.is_cacheable() => {
                return miss("the cache policy stores nothing: its maximum TTL is 0");
            }
            _ if directives.no_store => {
                return miss("the request says no-store, and the cache policy listens");
            }
            Lookup::HitForMiss => {
                return miss(
                    "the last answer could not be stored: for a while, each request is passed on for itself",
                );
            }
            Lookup::Response(response) => response,
            Lookup::Varies(_) | Lookup::Nothing if purged.is_some() => {
                return miss("a purge came after it was stored");
            }
            Lookup::Varies(_) | Lookup::Nothing if varies => {
                return miss("no stored variant is for the fields of this request");
            }
            Lookup::Varies(_) | Lookup::Nothing => return miss("nothing is stored under this key"),
        };
        match directives.decide(Some(&response.freshness), now) {
            Reuse::Fresh => self.hit(admitted, response, "it is fresh"),
            Reuse::Stale => {
                self.hit(admitted, response, "it is stale, and may be served so for now")
            }
            Reuse::Refresh => {
                let why = "it is stale, within stale-while-revalidate: it is served, and validated meanwhile";
                self.hit(admitted, response, why)
            }
            _ if directives.only_if_cached => miss("it is stale"),
            _ if !response.has_validator() => miss("it is stale, and without a validator"),
            Reuse::Validate | Reuse::Forward(_) => {
                let why =
                    if purged.is_some() { "a purge marked it as stale" } else { "it is stale" };
                let why = format!(
                    "{why}: the origin is asked whether it still holds, and if not, it is a Miss"
                );
                let is_error = is_error(response.status);
                Next::new(if is_error { ResultType::Error } else { ResultType::RefreshHit }, why)
            }
        }
    }

    /// What a stored response that is served is.
    fn hit(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        response: &Arc<StoredResponse>,
        why: &str,
    ) -> Next {
        match self.presence(response, admitted) {
            Err(Unmet::Precondition) => {
                Next::new(ResultType::Error, "412: a precondition of the request does not hold")
            }
            Err(Unmet::Range) => {
                Next::new(ResultType::Error, "416: the range is outside the object")
            }
            _ if is_error(response.status) => {
                Next::new(ResultType::Error, format!("the origin's error is remembered: {why}"))
            }
            Ok(Presence::Missing) => Next::new(
                ResultType::Miss,
                format!("{why}, but bytes that are asked for are missing"),
            ),
            Ok(Presence::Stored | Presence::Arriving) => Next::new(ResultType::Hit, why),
        }
    }

    /// Whether the bytes that the request is answered with are there.
    fn presence(
        self: &Arc<Self>,
        response: &Arc<StoredResponse>,
        admitted: &AdmittedRequest<'_>,
    ) -> Result<Presence, Unmet> {
        let all = 0..response.length;
        let bytes = match select(admitted, response)? {
            Part::NotModified => 0..0,
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
        let source = Arc::new(OriginSource::new(self, admitted));
        let (store, key) = (Arc::clone(&self.store), key_of(admitted, response));
        let reader = Reader::new(store, key, Arc::clone(response), source, bytes.clone());
        Ok(reader.presence(&bytes))
    }
}

/// What is known of a request that a distribution is asked.
fn of(distribution: &Arc<Distribution>, request: &Parts) -> Explanation {
    let route = distribution.route(request.uri.path()).ok();
    let behaviors = &distribution.settings.behaviors;
    let (path, behavior) = route.unzip();
    let pattern = behavior.map(|selected| {
        let mut ordered = behaviors.ordered.iter();
        let own = ordered.find(|(_, behavior)| Arc::ptr_eq(behavior, selected));
        own.map_or_else(|| "default".to_owned(), |(pattern, _)| pattern.to_string())
    });
    let group = behavior.map(|behavior| &distribution.origins[behavior.origin]);
    let origins = group.into_iter().flat_map(|group| group.members());
    Explanation {
        distribution: Some(distribution.settings.id.to_string()),
        path: path.map(|path| path.as_str().to_owned()),
        behavior: pattern,
        origins: origins.map(|origin| origin.options().id.clone()).collect(),
        ..Explanation::default()
    }
}

fn refused(
    refusal: Rejection,
    distribution: Option<&Arc<Distribution>>,
    request: &Parts,
) -> Explanation {
    let known = distribution.map(|distribution| of(distribution, request)).unwrap_or_default();
    let (status, reason) = (refusal.status().as_u16(), refusal.token().to_owned());
    let next = match refusal {
        Rejection::RedirectToHttps(_) => {
            Next::new(ResultType::Redirect, "the viewer is sent on to HTTPS")
        }
        Rejection::Preflight => Next::new(
            ResultType::Hit,
            "the response headers policy answers what other sites may do",
        ),
        _ => Next::new(ResultType::Error, "it is refused before cache and origin are asked"),
    };
    let signature = matches!(refusal, Rejection::Signed(_)).then(|| reason.clone());
    Explanation { refused: Some(ExplainedRejection { status, reason }), signature, next, ..known }
}

fn policy(response: &StoredResponse, caching: &CachingRules) -> String {
    if response.status.as_u16() >= 400 {
        return format!(
            "errors of this status are remembered for {} s",
            caching.errors.of(response.status).as_secs()
        );
    }
    let Ttl { min, default, max } = caching.ttl;
    let [min, default, max] = [min, default, max].map(|ttl| ttl.as_secs());
    format!("minimum TTL {min} s, default {default} s, maximum {max} s")
}

/// What a projection holds, one thing a line.
fn told(projection: &Projection<'_>) -> Vec<String> {
    let query = projection.query.iter().map(|query| format!("?{query}"));
    let fields = projection.headers.iter();
    let fields = fields
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    let cookies = projection.cookies.iter();
    let cookies = cookies.map(|cookies| format!("cookie: {}", String::from_utf8_lossy(cookies)));
    query.chain(fields).chain(cookies).collect()
}

fn fields_of(response: &StoredResponse, caching: &CachingRules) -> Vec<String> {
    let usual = [
        header::CACHE_CONTROL,
        header::EXPIRES,
        header::DATE,
        header::AGE,
        header::ETAG,
        header::LAST_MODIFIED,
        header::VARY,
    ];
    let fields = response.fields.to_map();
    let names: Vec<&HeaderName> = caching.targets.iter().chain(&usual).collect();
    let lines = names.into_iter().flat_map(|name| {
        let values = fields.get_all(name).into_iter();
        values.map(move |value| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
    });
    lines.collect()
}
