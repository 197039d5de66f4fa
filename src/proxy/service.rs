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
        admission::Ask,
        connection::Connection,
        incoming::Arrival,
        rejection::{self, Refusal},
        routing::Distribution,
    },
    respond::select::{self, Served},
    response::answer::{Answer, Head},
};
use crate::{
    base::{
        clock::{Stopwatch, Timestamp},
        metrics::ResultType,
    },
    cache::{
        key::CacheKey,
        policy::{Reuse, Wish},
        store::{Failure, Found, SourceError, StoredResponse},
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
const ONLY_IF_CACHED: Failure =
    Failure { status: StatusCode::GATEWAY_TIMEOUT, detail: "only-if-cached" };

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
        if let Some(HandedOver { arrival, watch, pending, .. }) = decided {
            let exchange = Box::new(Exchange::begin(&self, arrival, watch));
            return Either::Right(Box::pin(self.finish(*pending, exchange, body)));
        }
        let (watch, now) = (Stopwatch::start(), self.clock.now());
        let rules = self.rules.load();
        let arrival = Arrival::new(&rules, connection, parts, now);
        let decision = self.decide(&rules, &arrival, content);
        let exchange = Box::new(Exchange::begin(&self, arrival, watch));
        match decision {
            Decision::Hit(hit) => {
                let (answer, distribution, dress) = hit.into_answer();
                let response = exchange.respond(answer, Some(distribution), dress.as_ref());
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
        let Pending { dress, next } = pending;
        let arrival = &exchange.arrival;
        let (answer, distribution) = match next {
            Next::Respond(answer, distribution) => (answer, distribution),
            Next::Answer(Admitted { route, path, projection, found }) => {
                let ask = route.ask(arrival, path, projection);
                let answer = self.answer(&ask, found, &mut body, arrival.at).await;
                (answer, Some(route.distribution))
            }
        };
        let answer = match &distribution {
            Some(distribution) if !distribution.settings.error_pages.is_empty() => {
                Box::pin(self.substitute(distribution, &arrival.request, answer)).await
            }
            _ => answer,
        };
        let distribution = distribution.map(|held| arrival.connection.hold(&held));
        exchange.respond(answer, distribution, dress.as_ref())
    }

    pub(super) fn refuse(
        &self,
        refusal: Refusal,
        request: &Parts,
        distribution: Option<&Arc<Distribution>>,
    ) -> Answer {
        self.metrics.refused(refusal.token());
        let cloudfront = distribution.is_some_and(|d| d.settings.identity.is_cloudfront());
        refusal.into_answer(request, cloudfront)
    }

    /// Answers from the cache or by way of the origin; `found` is what the cache has, or `None` if the request
    /// bypasses it. What waits for an origin is boxed, so that the future of a hit, which is moved about, stays small.
    pub(super) async fn answer(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        mut found: Option<(CacheKey, Found)>,
        body: &mut Body,
        mut now: Timestamp,
    ) -> Answer {
        let wish = ask.wish();
        if found.is_none() {
            return Box::pin(self.bypass(ask, body, wish)).await;
        }
        for _ in 0..MAX_ROUNDS {
            let first = found.take();
            let found = first.unwrap_or_else(|| {
                now = self.clock.now();
                self.find(ask, now)
            });
            let (key, seen) = match found {
                (key, Found::Response(response)) => (key, Some(response)),
                (key, Found::Nothing | Found::Varies(_)) => (key, None),
                (_, Found::Pass) => return Box::pin(self.bypass(ask, body, wish)).await,
            };
            let reuse = wish.decide(seen.as_ref().map(|response| &response.freshness), now);
            if wish.only_if_cached && matches!(reuse, Reuse::Validate | Reuse::Forward(_)) {
                return rejection::failed(ONLY_IF_CACHED);
            }
            let answered = match (reuse, seen) {
                (Reuse::Fresh | Reuse::Stale, Some(response)) => {
                    self.serve_hit(ask, response, now).done().await
                }
                (Reuse::Refresh, Some(response)) => {
                    coalesce::refresh(self, ask, &key, &response, now);
                    self.serve_hit(ask, response, now).done().await
                }
                // A HEAD alone does not pull the object into the cache.
                (Reuse::Forward(reason), None) if ask.method == http::Method::HEAD => {
                    let report = Report::new(CacheStatus::Forward(reason));
                    return Box::pin(pass::pass(self, ask, take(body), report)).await;
                }
                (reuse, seen) => {
                    let reason = match reuse {
                        Reuse::Forward(_) if key != ask.key() => ForwardReason::VaryMiss,
                        Reuse::Forward(reason) => reason,
                        _ => ForwardReason::Stale,
                    };
                    let forwarded = Box::pin(forward(self, ask, key, seen, now)).await;
                    Box::pin(self.serve_forwarded(ask, forwarded, reason)).await
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
        Box::pin(pass::pass(self, ask, take(body), report)).await
    }

    /// Forwards this request without the cache, unless its directives forbid an origin request.
    async fn bypass(self: &Arc<Self>, ask: &Ask<'_>, body: &mut Body, wish: Wish) -> Answer {
        if wish.only_if_cached {
            return rejection::failed(ONLY_IF_CACHED);
        }
        let method = !matches!(*ask.method, http::Method::GET | http::Method::HEAD);
        let reason = if method { ForwardReason::Method } else { ForwardReason::Bypass };
        pass::pass(self, ask, take(body), Report::new(CacheStatus::Forward(reason))).await
    }

    /// What the cache has for a request; `None` if the request bypasses it.
    pub(super) fn look_up(
        &self,
        ask: &Ask<'_>,
        wish: Wish,
        now: Timestamp,
    ) -> Option<(CacheKey, Found)> {
        (ask.is_cacheable() && !wish.no_store).then(|| self.find(ask, now))
    }

    /// The stored response for a request and its key: that of the resource, or of the variant that the request
    /// selects.
    fn find(&self, ask: &Ask<'_>, now: Timestamp) -> (CacheKey, Found) {
        self.steps.lookups.add();
        let resource = ask.key();
        match self.store.lookup(&resource, now) {
            Found::Varies(variants) => {
                let key = variants.variation.key(&resource, &ask.forwarded());
                let found = self.store.lookup(&key, now);
                (key, found)
            }
            found => (resource, found),
        }
    }

    pub(super) fn serve_hit<'a>(
        self: &'a Arc<Self>,
        ask: &'a Ask<'a>,
        response: Arc<StoredResponse>,
        now: Timestamp,
    ) -> Served<'a> {
        let report = Report::new(CacheStatus::Hit);
        select::from_stored(self, ask, response, ResultType::Hit, report, now)
    }

    async fn serve_forwarded(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        forwarded: Forwarded,
        reason: ForwardReason,
    ) -> Result<Answer, SourceError> {
        // The origin took time to respond.
        let now = self.clock.now();
        let mut report = Report::new(CacheStatus::Forward(reason));
        match forwarded {
            Forwarded::Found(response) => self.serve_hit(ask, response, now).done().await,
            Forwarded::Stored { response, how, own_fields, timing } => {
                let result = how.tell(&mut report);
                let served = select::from_stored(self, ask, response, result, report, now);
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
                let answer = Box::pin(at_viewers_pace(self, ask, *answer, false)).await;
                let answer = answer.map_err(SourceError::Failed)?;
                Ok(pass::present(ask, answer, report))
            }
            Forwarded::Failed(failure) => Err(SourceError::Failed(failure)),
            Forwarded::Alone => Ok(pass::pass(self, ask, Body::empty(), report).await),
        }
    }
}

/// Takes the content out of a request.
fn take(body: &mut Body) -> Body {
    std::mem::replace(body, Body::empty())
}
