//! The service: from a request to its response.

use std::sync::Arc;

use futures_util::future::Either;
use http::{Request, Response, StatusCode, request::Parts};
use http_body::Body as _;

use super::{
    context::Edge,
    decision::{Admitted, Content, Decided, Decision, HandedOver, Next, Pending},
    exchange::Exchange,
    fetch::{
        coalesce::{self, forward},
        forwarded::Forwarded,
        paced::at_viewers_pace,
    },
    pass,
    request::{
        admission::AdmittedRequest,
        connection::Connection,
        incoming::IncomingRequest,
        rejection::{self, Rejection},
        routing::Distribution,
    },
    respond::select::{self, Served},
    response::proxy_response::{Head, ProxyResponse},
};
use crate::{
    base::{
        clock::{Stopwatch, Timestamp},
        metrics::ResultType,
    },
    cache::{
        key::CacheKey,
        policy::{RequestDirectives, Reuse},
        store::{FetchError, Lookup, SourceError, StoredResponse},
    },
    http::{
        body::Body,
        cache_status::{CacheStatus, ForwardReason, Report},
        framing,
    },
};

/// How often a request is decided anew because the object changed under it.
const MAX_ROUNDS: usize = 3;

/// RFC 9111 §5.2.1.7: the answer to `only-if-cached` where nothing stored will do.
const ONLY_IF_CACHED: FetchError =
    FetchError { status: StatusCode::GATEWAY_TIMEOUT, detail: "only-if-cached" };

impl Edge {
    /// Answers one request, which the fast path may have `decided`. Cancel-safe: a viewer who leaves cancels
    /// only its own part.
    pub fn handle(
        self: Arc<Self>,
        request: Request<Body>,
        decided: Option<Decided>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        let (parts, body) = request.into_parts();
        let content = Content {
            framing: framing::check(&parts.headers, parts.version),
            is_empty: body.is_end_stream(),
        };
        let decided = decided.and_then(|decided| decided.about(&parts, content));
        if let Some(HandedOver { incoming, watch, pending, .. }) = decided {
            let exchange = Box::new(Exchange::begin(&self, incoming, watch));
            return Either::Right(Box::pin(self.finish(*pending, exchange, body)));
        }
        let (watch, now) = (Stopwatch::start(), self.clock.now());
        let rules = self.rules.load();
        let incoming = IncomingRequest::new(&rules, connection, parts, now);
        let decision = self.decide(&rules, &incoming, content);
        let exchange = Box::new(Exchange::begin(&self, incoming, watch));
        match decision {
            Decision::Hit(hit) => {
                let (answer, distribution, headers_policy) = hit.into_answer();
                let response =
                    exchange.respond(answer, Some(distribution), headers_policy.as_ref());
                Either::Left(std::future::ready(response))
            }
            // In a box: futures are moved about, and hits need none.
            Decision::Pending(pending) => {
                Either::Right(Box::pin(self.finish(*pending, exchange, body)))
            }
        }
    }

    /// Answers a decided request.
    async fn finish(
        self: Arc<Self>,
        pending: Pending,
        exchange: Box<Exchange>,
        mut body: Body,
    ) -> Response<Body> {
        let Pending { headers_policy, next } = pending;
        let incoming = &exchange.incoming;
        let (answer, distribution) = match next {
            Next::Respond(answer, distribution) => (answer, distribution),
            Next::Answer(Admitted { route, path, projection, found }) => {
                let admitted = route.admitted(incoming, path, projection);
                let answer = self.answer(&admitted, found, &mut body, incoming.at).await;
                (answer, Some(route.distribution))
            }
        };
        let answer = match &distribution {
            Some(distribution) if !distribution.settings.error_pages.is_empty() => {
                Box::pin(self.custom_error_response(distribution, &incoming.request, answer)).await
            }
            _ => answer,
        };
        let distribution = distribution.map(|held| incoming.connection.hold(&held));
        exchange.respond(answer, distribution, headers_policy.as_ref())
    }

    pub(super) fn refuse(
        &self,
        refusal: Rejection,
        request: &Parts,
        distribution: Option<&Arc<Distribution>>,
    ) -> ProxyResponse {
        self.metrics.refused(refusal.token());
        let cloudfront = distribution.is_some_and(|d| d.settings.identity.is_cloudfront());
        refusal.into_answer(request, cloudfront)
    }

    /// Answers from the cache or by way of the origin; `found` is what the cache has, or `None` if the request
    /// bypasses it. What waits for an origin is boxed, so that the future of a hit, which is moved about, stays small.
    pub(super) async fn answer(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        mut found: Option<(CacheKey, Lookup)>,
        body: &mut Body,
        mut now: Timestamp,
    ) -> ProxyResponse {
        let directives = admitted.directives();
        if found.is_none() {
            return Box::pin(self.bypass(admitted, body, directives)).await;
        }
        for _ in 0..MAX_ROUNDS {
            let first = found.take();
            let found = first.unwrap_or_else(|| {
                now = self.clock.now();
                self.find(admitted, now)
            });
            let (key, seen) = match found {
                (key, Lookup::Response(response)) => (key, Some(response)),
                (key, Lookup::Nothing | Lookup::Varies(_)) => (key, None),
                (_, Lookup::HitForMiss) => {
                    return Box::pin(self.bypass(admitted, body, directives)).await;
                }
            };
            let reuse = directives.decide(seen.as_ref().map(|response| &response.freshness), now);
            if directives.only_if_cached && matches!(reuse, Reuse::Validate | Reuse::Forward(_)) {
                return rejection::failed(ONLY_IF_CACHED);
            }
            let answered = match (reuse, seen) {
                (Reuse::Fresh | Reuse::Stale, Some(response)) => {
                    self.serve_hit(admitted, response, now).done().await
                }
                (Reuse::Refresh, Some(response)) => {
                    coalesce::refresh(self, admitted, &key, &response, now);
                    self.serve_hit(admitted, response, now).done().await
                }
                // A HEAD alone does not pull the object into the cache.
                (Reuse::Forward(reason), None) if admitted.method == http::Method::HEAD => {
                    let report = Report::new(CacheStatus::Forward(reason));
                    return Box::pin(pass::pass(self, admitted, take(body), report)).await;
                }
                (reuse, seen) => {
                    let reason = match reuse {
                        Reuse::Forward(_) if key != admitted.key() => ForwardReason::VaryMiss,
                        Reuse::Forward(reason) => reason,
                        _ => ForwardReason::Stale,
                    };
                    let forwarded = Box::pin(forward(self, admitted, key, seen, now)).await;
                    Box::pin(self.respond_to_forwarded(admitted, forwarded, reason)).await
                }
            };
            match answered {
                Ok(answer) => return answer,
                Err(SourceError::Failed(failure)) => return rejection::failed(failure),
                // The object changed before the first byte went out: begin again.
                Err(SourceError::Changed) => {}
            }
        }
        let mut report = Report::new(CacheStatus::Forward(ForwardReason::UriMiss));
        report.detail = Some("origin-keeps-changing");
        Box::pin(pass::pass(self, admitted, take(body), report)).await
    }

    /// Forwards this request without the cache, unless its directives forbid an origin request.
    async fn bypass(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        body: &mut Body,
        directives: RequestDirectives,
    ) -> ProxyResponse {
        if directives.only_if_cached {
            return rejection::failed(ONLY_IF_CACHED);
        }
        let method = !matches!(*admitted.method, http::Method::GET | http::Method::HEAD);
        let reason = if method { ForwardReason::Method } else { ForwardReason::Bypass };
        pass::pass(self, admitted, take(body), Report::new(CacheStatus::Forward(reason))).await
    }

    /// What the cache has for a request; `None` if the request bypasses it.
    pub(super) fn look_up(
        &self,
        admitted: &AdmittedRequest<'_>,
        directives: RequestDirectives,
        now: Timestamp,
    ) -> Option<(CacheKey, Lookup)> {
        (admitted.is_cacheable() && !directives.no_store).then(|| self.find(admitted, now))
    }

    /// The stored response for a request and its key: that of the resource, or of the variant that the request
    /// selects.
    fn find(&self, admitted: &AdmittedRequest<'_>, now: Timestamp) -> (CacheKey, Lookup) {
        self.steps.lookups.add();
        let resource = admitted.key();
        match self.store.lookup(&resource, now) {
            Lookup::Varies(variants) => {
                let key = variants.variation.key(&resource, &admitted.forwarded());
                let found = self.store.lookup(&key, now);
                (key, found)
            }
            found => (resource, found),
        }
    }

    pub(super) fn serve_hit<'a>(
        self: &'a Arc<Self>,
        admitted: &'a AdmittedRequest<'a>,
        response: Arc<StoredResponse>,
        now: Timestamp,
    ) -> Served<'a> {
        let report = Report::new(CacheStatus::Hit);
        select::from_stored(self, admitted, response, ResultType::Hit, report, now)
    }

    async fn respond_to_forwarded(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        forwarded: Forwarded,
        reason: ForwardReason,
    ) -> Result<ProxyResponse, SourceError> {
        // The origin took time to respond.
        let now = self.clock.now();
        let mut report = Report::new(CacheStatus::Forward(reason));
        match forwarded {
            Forwarded::Lookup(response) => self.serve_hit(admitted, response, now).done().await,
            Forwarded::Stored { response, how, own_fields, timing } => {
                let result = how.tell(&mut report);
                let served = select::from_stored(self, admitted, response, result, report, now);
                let mut served = served.done().await;
                if let Ok(answer) = &mut served {
                    answer.timing = timing;
                    if let Head::Stored(head) = &mut answer.head {
                        head.own_fields = own_fields;
                    }
                }
                served
            }
            // It is another variant than this request selects: look again.
            Forwarded::Again => Err(SourceError::Changed),
            Forwarded::Unstorable(answer, why) => {
                report.detail = Some(why.token());
                let answer = Box::pin(at_viewers_pace(self, admitted, *answer, false)).await;
                let answer = answer.map_err(SourceError::Failed)?;
                Ok(pass::present(admitted, answer, report))
            }
            Forwarded::Failed(failure) => Err(SourceError::Failed(failure)),
            Forwarded::Alone => Ok(pass::pass(self, admitted, Body::empty(), report).await),
        }
    }
}

/// Takes the content out of a request.
fn take(body: &mut Body) -> Body {
    std::mem::replace(body, Body::empty())
}
