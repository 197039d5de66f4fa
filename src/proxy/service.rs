//! The service: turns a request into its response.

use std::sync::Arc;

use futures_util::future::Either;
use http::{Request, Response, StatusCode, request::Parts};
use http_body::Body as _;

use super::{
    cache_plan::{CachePlan, Staleness},
    context::Edge,
    decision::{Admitted, Content, Decided, Decision, HandedOver, Next, Pending, Verification},
    exchange::Exchange,
    fetch::{
        coalesce::{self, forward},
        forwarded::{Forwarded, How},
        paced::at_viewers_pace,
    },
    pass,
    request::{
        admission::{AdmittedRequest, Route},
        connection::Connection,
        incoming::{IncomingRequest, Purpose},
        not_admitted::Unauthorized,
        rejection::{self, Rejection},
        routing::Distribution,
    },
    respond::select::{self, Served},
    response::proxy_response::{Fetched, Head, ProxyResponse},
};
use crate::{
    access::passwords::Verdict,
    base::{
        clock::{Stopwatch, Timestamp},
        metrics::ResultType,
    },
    cache::{
        key::CacheKey,
        store::{FROM_DISK, FetchError, Lookup, SourceError, StoredResponse},
    },
    http::{
        body::Body,
        cache_status::{CacheStatus, ForwardReason, Report},
        framing,
    },
    outbound::Timing,
};

/// The maximum number of plans for a request, if the object keeps changing.
const MAX_ROUNDS: usize = 3;

/// The maximum number of passwords that are verified for a request.
pub(super) const MAX_VERIFICATIONS: usize = 8;

/// Records on disk that lead to a response: a note that responses vary, and a response.
const MAX_RECORDS: usize = 2;

/// The response to `only-if-cached` if no stored response is usable (RFC 9111 §5.2.1.7).
const ONLY_IF_CACHED: FetchError =
    FetchError { status: StatusCode::GATEWAY_TIMEOUT, detail: "only-if-cached" };

impl Edge {
    /// Answers one request, which the fast path may have `decided`. Cancel-safe: a viewer that disconnects cancels
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
        let incoming = IncomingRequest::new(&rules, connection, parts, now, Purpose::Serve);
        let decision = self.decide(&rules, &incoming, content);
        let exchange = Box::new(Exchange::begin(&self, incoming, watch));
        match decision {
            Decision::Hit(hit) => {
                let (answer, distribution, headers_policy) = hit.into_answer();
                let response =
                    exchange.respond(answer, Some(distribution), headers_policy.as_ref());
                Either::Left(std::future::ready(response))
            }
            // Boxed to keep the future small: it is moved, and hits do not need this one.
            Decision::Pending(pending) => {
                Either::Right(Box::pin(self.finish(*pending, exchange, body)))
            }
        }
    }

    /// Answers a decided request.
    async fn finish(
        self: Arc<Self>,
        pending: Pending,
        mut exchange: Box<Exchange>,
        mut body: Body,
    ) -> Response<Body> {
        if let Some(distribution) = pending.next.distribution() {
            exchange.enter(distribution);
        }
        let mut decision = Decision::Pending(Box::new(pending));
        // Each rule may want another password, and new rules may be in force meanwhile.
        for _ in 0..MAX_VERIFICATIONS {
            match decision {
                Decision::Pending(pending) if matches!(pending.next, Next::Verify(_)) => {
                    decision = self.verify(*pending, &mut exchange.incoming).await;
                }
                _ => break,
            }
        }
        let Pending { headers_policy, next } = match decision {
            Decision::Pending(pending) => *pending,
            Decision::Hit(hit) => {
                let (answer, distribution, headers_policy) = hit.into_answer();
                return exchange.respond(answer, Some(distribution), headers_policy.as_ref());
            }
        };
        let incoming = &exchange.incoming;
        let (answer, distribution) = match next {
            Next::Respond(answer, distribution) => (answer, distribution),
            // Even the last decision wants a password: other rules came into force each time.
            Next::Verify(Verification { refusal, distribution, .. }) => {
                (refusal, Some(distribution))
            }
            Next::Answer(Admitted { route, path, projection, plan }) => {
                let admitted = route.admitted(incoming, path, projection);
                let answer = self.answer(&admitted, plan, &mut body, incoming.at).await;
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

    /// Verifies a password. If it is right, decides the request again, without counting it twice against rate limits.
    async fn verify(
        self: &Arc<Self>,
        pending: Pending,
        incoming: &mut IncomingRequest,
    ) -> Decision {
        let Pending { headers_policy, next } = pending;
        let Next::Verify(Verification { login, refusal, distribution, content }) = next else {
            return Decision::Pending(Box::new(Pending { headers_policy, next }));
        };
        let (answer, token) = match self.passwords.verify(&login).await {
            Verdict::Right => {
                incoming.counts = false;
                return self.decide(&self.rules(), incoming, content);
            }
            Verdict::Wrong => (refusal, Unauthorized::TOKEN),
            Verdict::Busy => (Unauthorized::busy(), Unauthorized::BUSY),
        };
        self.metrics.refused(token);
        let next = Next::Respond(answer, Some(distribution));
        Decision::Pending(Box::new(Pending { headers_policy, next }))
    }

    /// Logs a request that hyper rejected with `status`. Its distribution is known if the request names a host.
    pub fn log_refused(
        self: &Arc<Self>,
        request: Parts,
        status: u16,
        detail: &'static str,
        connection: &Arc<Connection>,
    ) {
        let rules = self.rules.load();
        self.metrics.refused(detail);
        let incoming =
            IncomingRequest::new(&rules, connection, request, self.clock.now(), Purpose::Serve);
        let distribution = Route::of(&rules, &incoming).ok().map(|route| route.distribution);
        let distribution = distribution.cloned();
        let mut exchange = Exchange::immediate(self, incoming, Stopwatch::start());
        if let Some(distribution) = &distribution {
            exchange.enter(distribution);
        }
        exchange.refused(status, detail);
    }

    pub(super) fn refuse(
        &self,
        rejection: Rejection,
        request: &Parts,
        distribution: Option<&Arc<Distribution>>,
    ) -> ProxyResponse {
        if !rejection.status().is_redirection() {
            self.metrics.refused(rejection.token());
        }
        let cloudfront = distribution.is_some_and(|d| d.settings.identity.is_cloudfront());
        rejection.into_answer(request, cloudfront)
    }

    /// The response, or the error response if the origin fails.
    pub(super) async fn answer(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        plan: CachePlan,
        body: &mut Body,
        now: Timestamp,
    ) -> ProxyResponse {
        self.execute(admitted, plan, body, now).await.unwrap_or_else(rejection::failed)
    }

    /// Executes the plan. If it fails because the object changed, makes a new plan. Futures that wait for an origin are
    /// boxed, so that the future of a hit, which is moved, stays small.
    pub(super) async fn execute(
        self: &Arc<Self>,
        admitted: &AdmittedRequest<'_>,
        first: CachePlan,
        body: &mut Body,
        mut now: Timestamp,
    ) -> Result<ProxyResponse, FetchError> {
        let only_if_cached = admitted.directives().only_if_cached;
        let mut next = Some(first);
        for _ in 0..MAX_ROUNDS {
            let plan = next.take().unwrap_or_else(|| {
                now = self.clock.now();
                self.plan(admitted, now)
            });
            let (plan, detail) = if self.store.has_disk() {
                Box::pin(self.with_disk(admitted, plan, now)).await
            } else {
                (plan, None)
            };
            if only_if_cached && plan.needs_origin() {
                return Err(ONLY_IF_CACHED);
            }
            let answered = match plan {
                CachePlan::Bypass(why) => {
                    let mut report = Report::new(CacheStatus::Forward(why.reason()));
                    report.detail = why.detail();
                    return Box::pin(pass::pass(self, admitted, take(body), report)).await;
                }
                CachePlan::Serve { key, response, staleness } => {
                    if staleness == Staleness::Revalidate {
                        coalesce::refresh(self, admitted, &key, &response, now);
                    }
                    self.serve_hit(admitted, response, now, detail).done().await
                }
                CachePlan::Fetch { key, stored, reason } => {
                    let forwarded = Box::pin(forward(self, admitted, key, stored, now)).await;
                    Box::pin(self.respond_to_forwarded(admitted, forwarded, reason)).await
                }
            };
            match answered {
                Ok(answer) => return Ok(answer),
                Err(SourceError::Failed(failure)) => return Err(failure),
                // The object changed before the first byte went out.
                Err(SourceError::Changed) => {}
            }
        }
        let mut report = Report::new(CacheStatus::Forward(ForwardReason::UriMiss));
        report.detail = Some("origin-keeps-changing");
        Box::pin(pass::pass(self, admitted, take(body), report)).await
    }

    /// Makes the plan again if the disk has what memory does not: the note that responses vary, then the variant.
    async fn with_disk(
        &self,
        admitted: &AdmittedRequest<'_>,
        mut plan: CachePlan,
        now: Timestamp,
    ) -> (CachePlan, Option<&'static str>) {
        let mut detail = None;
        for _ in 0..MAX_RECORDS {
            let CachePlan::Fetch { key, stored: None, .. } = &plan else { break };
            if !self.store.recall(key).await {
                break;
            }
            detail = Some(FROM_DISK);
            let may_reuse = self.store.may_reuse();
            plan = CachePlan::of(admitted, now, may_reuse, || self.stored(admitted, now));
        }
        (plan, detail)
    }

    /// The cache plan for a request.
    pub(super) fn plan(&self, admitted: &AdmittedRequest<'_>, now: Timestamp) -> CachePlan {
        CachePlan::of(admitted, now, self.store.may_reuse(), || self.find(admitted, now))
    }

    /// Looks up a request. Returns the key of the resource, or of the variant that the request selects, and the
    /// result.
    fn find(&self, admitted: &AdmittedRequest<'_>, now: Timestamp) -> (CacheKey, Lookup) {
        self.steps.lookups.add();
        self.stored(admitted, now)
    }

    /// Looks up a request without counting the lookup as a step of a decision.
    pub(super) fn stored(
        &self,
        admitted: &AdmittedRequest<'_>,
        now: Timestamp,
    ) -> (CacheKey, Lookup) {
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
        detail: Option<&'static str>,
    ) -> Served<'a> {
        let mut report = Report::new(CacheStatus::Hit);
        report.detail = detail.or_else(|| self.store.reuse_detail());
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
            Forwarded::Found(response) => {
                self.serve_hit(admitted, response, now, None).done().await
            }
            Forwarded::Stored { how: How::Kept(detail), .. } if admitted.is_of_peer => {
                Err(SourceError::Failed(FetchError { status: StatusCode::BAD_GATEWAY, detail }))
            }
            Forwarded::Stored { response, how: How::Collapsed, .. }
                if admitted.is_of_peer && !response.freshness.is_fresh(now) =>
            {
                Err(SourceError::Failed(FetchError::STALE))
            }
            Forwarded::Stored { response, how, own_fields, timing } => {
                let result = how.tell(&mut report);
                let served = select::from_stored(self, admitted, response, result, report, now);
                let mut served = served.done().await;
                if let Ok(answer) = &mut served {
                    let fetched =
                        |timing: Box<Timing>| Fetched { timing: *timing, ..Fetched::default() };
                    answer.fetched = timing.map(|timing| Box::new(fetched(timing)));
                    if let Head::Stored(head) = &mut answer.head {
                        head.own_fields = own_fields;
                    }
                }
                served
            }
            // The stored variant is not the one this request selects. Look again.
            Forwarded::Again => Err(SourceError::Changed),
            Forwarded::Unstorable(answer, why) => {
                report.detail = Some(why.token());
                let answer = Box::pin(at_viewers_pace(self, admitted, *answer, false)).await;
                let answer = answer.map_err(SourceError::Failed)?;
                Ok(pass::present(admitted, answer, report))
            }
            Forwarded::Failed(failure) => Err(SourceError::Failed(failure)),
            Forwarded::Alone => {
                let passed = pass::pass(self, admitted, Body::empty(), report).await;
                passed.map_err(SourceError::Failed)
            }
        }
    }
}

/// Takes the content out of a request.
fn take(body: &mut Body) -> Body {
    std::mem::replace(body, Body::empty())
}
