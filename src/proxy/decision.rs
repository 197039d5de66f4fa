//! The decision about a request: its route, its admission and its cache plan. Each is made once per request,
//! for every protocol and for both the fast path and the service.

use std::sync::Arc;

use http::{StatusCode, request::Parts};

use super::{
    cache_plan::{CachePlan, Staleness},
    context::Edge,
    request::{
        admission::{AdmittedRequest, Route},
        applied_rules::AppliedRules,
        connection::HeldDistribution,
        headers_policy::HeadersPolicy,
        hint_log::log_hint,
        incoming::IncomingRequest,
        not_admitted::{NotAdmitted, Unauthorized},
        rejection::Rejection,
        routing::{Distribution, Rules},
    },
    respond::select::Served,
    response::proxy_response::{Carried, Head, ProxyResponse, StoredHead},
};
use crate::{
    access::passwords::Login,
    base::{clock::Stopwatch, metrics::ResultType},
    behavior::Behavior,
    cache::{
        key::{CanonicalPath, Projection},
        store::Hold,
    },
    http::{authority::head_length, body::Body, cache_status::Report, framing::FramingError},
};

/// The content of a request, according to its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    pub(super) framing: Result<(), FramingError>,
    pub(super) is_empty: bool,
}

impl Content {
    pub(super) const NONE: Self = Self { framing: Ok(()), is_empty: true };
}

/// The decision about a request.
pub(super) enum Decision {
    /// A hit served entirely from memory.
    Hit(Hit),
    /// Anything else. Boxed to keep `Decision` small.
    Pending(Box<Pending>),
}

/// A hit before its response is written.
pub(super) struct Hit {
    pub(super) head: StoredHead,
    /// The hold on the content in memory; `None` if no content is sent.
    pub(super) hold: Option<Hold>,
    pub(super) result: ResultType,
    pub(super) report: Report,
    pub(super) distribution: HeldDistribution,
    pub(super) headers_policy: Option<HeadersPolicy>,
}

impl Hit {
    /// Converts the hit into a response.
    pub(super) fn into_answer(self) -> (ProxyResponse, HeldDistribution, Option<HeadersPolicy>) {
        let head = Head::Stored(self.head);
        let mut answer = ProxyResponse::new(head, Body::empty(), self.result, self.report);
        if let Some(hold) = self.hold {
            answer.content = Carried::InMemory(hold);
        }
        (answer, self.distribution, self.headers_policy)
    }
}

/// A decided request that still needs a response.
pub(super) struct Pending {
    pub(super) headers_policy: Option<HeadersPolicy>,
    pub(super) next: Next,
}

/// The next step for a pending request.
pub(super) enum Next {
    /// Send this response, unless an error page of the distribution replaces it.
    Respond(ProxyResponse, Option<Arc<Distribution>>),
    /// Respond from the cache or the origin.
    Answer(Admitted),
    /// Verify the password, then decide again.
    Verify(Verification),
}

/// The verification of a request's password.
pub(super) struct Verification {
    pub(super) login: Login,
    /// The request of the viewer for a password, if this one is wrong.
    pub(super) refusal: ProxyResponse,
    pub(super) distribution: Arc<Distribution>,
    pub(super) content: Content,
}

impl Next {
    /// The distribution of the request, if known.
    pub(super) const fn distribution(&self) -> Option<&Arc<Distribution>> {
        match self {
            Self::Respond(_, distribution) => distribution.as_ref(),
            Self::Answer(admitted) => Some(&admitted.route.distribution),
            Self::Verify(verification) => Some(&verification.distribution),
        }
    }
}

/// A decided request that the fast path hands to [`Edge::handle`], which gets the same request from hyper.
pub struct Decided(Box<HandedOver>);

pub(super) struct HandedOver {
    /// The number of exchanges begun on the connection at that time.
    begun: u32,
    pub(super) incoming: IncomingRequest,
    pub(super) watch: Stopwatch,
    pub(super) pending: Box<Pending>,
}

impl Decided {
    pub(super) fn new(incoming: IncomingRequest, watch: Stopwatch, pending: Box<Pending>) -> Self {
        let begun = incoming.connection.exchanges.begun();
        Self(Box::new(HandedOver { begun, incoming, watch, pending }))
    }

    /// Returns the decision if hyper read the same request.
    pub(super) fn about(self, request: &Parts, content: Content) -> Option<HandedOver> {
        let own = &self.0.incoming;
        let is_same = content.is_empty
            && content.framing.is_ok()
            && self.0.begun == own.connection.exchanges.begun()
            && own.request.method == request.method
            && own.request.uri == request.uri
            && own.request.version == request.version
            && own.head_length == head_length(request);
        is_same.then_some(*self.0)
    }
}

/// An admitted request that borrows nothing from the request head.
pub(super) struct Admitted {
    pub(super) route: AdmittedRoute,
    pub(super) path: CanonicalPath<'static>,
    pub(super) projection: Projection<'static>,
    pub(super) plan: CachePlan,
}

/// The owned values that an `AdmittedRequest` borrows.
pub(super) struct AdmittedRoute {
    pub(super) distribution: Arc<Distribution>,
    behavior: Arc<Behavior>,
    host: Box<str>,
    rules: AppliedRules,
}

impl Admitted {
    fn new(admitted: &AdmittedRequest<'_>, plan: CachePlan) -> Self {
        let route = AdmittedRoute {
            distribution: Arc::clone(admitted.distribution),
            behavior: Arc::clone(admitted.behavior),
            host: admitted.host.into(),
            rules: admitted.rules,
        };
        Self {
            route,
            path: admitted.path.clone().into_owned(),
            projection: admitted.projection.clone().into_owned(),
            plan,
        }
    }
}

impl AdmittedRoute {
    /// Rebuilds the admitted request.
    pub(super) fn admitted<'a>(
        &'a self,
        incoming: &'a IncomingRequest,
        path: CanonicalPath<'static>,
        projection: Projection<'static>,
    ) -> AdmittedRequest<'a> {
        AdmittedRequest {
            distribution: &self.distribution,
            behavior: &self.behavior,
            method: &incoming.request.method,
            path,
            host: &self.host,
            projection,
            fields: &incoming.request.headers,
            request: &incoming.request,
            client: Some(incoming.viewer.address),
            id: Some(incoming.id),
            connection: Some(&incoming.connection),
            trace: incoming.trace.as_ref(),
            is_of_peer: false,
            rules: self.rules,
        }
    }
}

impl Edge {
    /// Routes and admits a request, and plans its response.
    pub(super) fn decide(
        self: &Arc<Self>,
        rules: &Rules,
        incoming: &IncomingRequest,
        content: Content,
    ) -> Decision {
        let request = &incoming.request;
        let route = content.framing.map_err(Rejection::Framing);
        let route = match route.and_then(|()| Route::of(rules, incoming)) {
            Ok(route) => route,
            Err(rejection) => return self.refused(rejection, request, None, None),
        };
        let distribution = route.distribution;
        let behavior = route.behavior();
        let headers_policy = behavior.and_then(|behavior| HeadersPolicy::of(behavior, request));
        let admitted = match route.admit(rules, incoming, !content.is_empty, &self.steps) {
            Ok(admitted) => admitted,
            Err(why) => {
                return self.not_admitted(
                    why,
                    (rules, incoming, content),
                    (distribution, behavior),
                    headers_policy,
                );
            }
        };
        let matches = admitted.rules.matches;
        let headers_policy = HeadersPolicy::with_rules(headers_policy, behavior, matches);
        let next = match self.plan(&admitted, incoming.at) {
            CachePlan::Serve { key, response, staleness: Staleness::Fresh }
                if response.status == StatusCode::OK =>
            {
                match self.serve_hit(&admitted, response, incoming.at, None) {
                    Served::Now(ProxyResponse {
                        head: Head::Stored(head),
                        content,
                        result,
                        report,
                        ..
                    }) => {
                        let hold = content.into_hold();
                        let distribution = incoming.connection.hold(distribution);
                        let hit = Hit { head, hold, result, report, distribution, headers_policy };
                        return Decision::Hit(hit);
                    }
                    // A synthetic error, which a custom error page may replace.
                    Served::Now(answer) => Next::Respond(answer, Some(Arc::clone(distribution))),
                    // The content must be compressed or fetched. `Edge::answer` starts over.
                    Served::Later(response, _) => {
                        let staleness = Staleness::Fresh;
                        let plan = CachePlan::Serve { key, response, staleness };
                        Next::Answer(Admitted::new(&admitted, plan))
                    }
                }
            }
            plan => Next::Answer(Admitted::new(&admitted, plan)),
        };
        Decision::Pending(Box::new(Pending { headers_policy, next }))
    }

    /// Decides a request that is not admitted: a redirect, the verification of a password, or an error.
    fn not_admitted(
        &self,
        why: NotAdmitted,
        (rules, incoming, content): (&Rules, &IncomingRequest, Content),
        (distribution, behavior): (&Arc<Distribution>, Option<&Arc<Behavior>>),
        headers_policy: Option<HeadersPolicy>,
    ) -> Decision {
        let headers_policy = HeadersPolicy::with_rules(headers_policy, behavior, why.rules());
        let next = match why {
            NotAdmitted::Rejected(rejection) => {
                log_hint(rejection, rules, distribution, incoming);
                let request = &incoming.request;
                return self.refused(rejection, request, Some(distribution), headers_policy);
            }
            NotAdmitted::Redirected(redirect) => {
                Next::Respond(redirect.into_answer(), Some(Arc::clone(distribution)))
            }
            NotAdmitted::Unauthorized(mut unauthorized) => {
                let (login, distribution) = (unauthorized.login.take(), Arc::clone(distribution));
                let refusal = unauthorized.into_answer();
                match login {
                    Some(login) => {
                        Next::Verify(Verification { login, refusal, distribution, content })
                    }
                    None => {
                        self.metrics.refused(Unauthorized::TOKEN);
                        Next::Respond(refusal, Some(distribution))
                    }
                }
            }
        };
        Decision::Pending(Box::new(Pending { headers_policy, next }))
    }

    fn refused(
        &self,
        rejection: Rejection,
        request: &Parts,
        distribution: Option<&Arc<Distribution>>,
        headers_policy: Option<HeadersPolicy>,
    ) -> Decision {
        let answer = self.refuse(rejection, request, distribution);
        let next = Next::Respond(answer, distribution.map(Arc::clone));
        Decision::Pending(Box::new(Pending { headers_policy, next }))
    }
}
