//! Origin groups: a primary and a failover secondary
//! (Amazon CloudFront Developer Guide, "Optimize high availability with CloudFront origin failover").

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode, header};
use prometheus_client::metrics::counter::Counter;

use super::{Origin, OriginRequest, OriginResponse, breaker::Breaker};
use crate::{
    base::clock::Clock,
    http::body::Body,
    outbound::{Error, ErrorClass},
};

/// Consecutive failures of the primary after which requests go directly to the secondary.
const FAILURES: u32 = 5;

/// The time they do so; then one request tries the primary again.
const PAUSE: Duration = Duration::from_secs(10);

/// Status codes that can trigger failover in CloudFront.
pub(crate) const FAILOVER_CODES: [u16; 9] = [400, 403, 404, 416, 429, 500, 502, 503, 504];

/// The target of a behavior's requests: one origin, or a group of two.
#[derive(Debug)]
pub struct Group {
    primary: Arc<Origin>,
    secondary: Option<Secondary>,
}

#[derive(Debug)]
struct Secondary {
    origin: Arc<Origin>,
    failover: Vec<StatusCode>,
    breaker: Breaker,
    clock: Clock,
    failovers: Counter,
}

/// The result of a request to a group.
#[derive(Debug)]
pub struct Reply {
    /// The final response, or the error.
    pub answer: Result<OriginResponse, Error>,
    /// The origin that answered.
    pub by: Arc<Origin>,
    /// A failed member, if the other one's result is used instead.
    pub passed_over: Option<(Arc<Origin>, Error)>,
}

impl Group {
    /// A group of one origin.
    #[must_use]
    pub const fn single(origin: Arc<Origin>) -> Self {
        Self { primary: origin, secondary: None }
    }

    /// A primary, and a `secondary` that replaces it if it fails or answers with a status in
    /// `failover`.
    #[must_use]
    pub fn pair(
        primary: Arc<Origin>,
        secondary: Arc<Origin>,
        failover: Vec<StatusCode>,
        clock: Clock,
        failovers: Counter,
    ) -> Self {
        let breaker = Breaker::new(FAILURES, |_| PAUSE);
        let secondary = Secondary { origin: secondary, failover, breaker, clock, failovers };
        Self { primary, secondary: Some(secondary) }
    }

    /// The origin that is tried first.
    #[must_use]
    pub const fn primary(&self) -> &Arc<Origin> {
        &self.primary
    }

    /// The members, the primary first.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Origin>> {
        std::iter::once(&self.primary).chain(self.secondary.iter().map(|second| &second.origin))
    }

    /// Whether requests go to the secondary at once, because the primary keeps failing.
    #[must_use]
    pub fn skips_primary(&self) -> bool {
        self.secondary.as_ref().is_some_and(|secondary| secondary.breaker.is_paused())
    }

    /// The longest time until a request is answered or has failed.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        self.members().map(|origin| origin.longest_wait()).sum()
    }

    /// Sends a request to the primary or, if that fails, to the secondary.
    pub async fn send(&self, request: &OriginRequest<'_>, body: Option<Body>) -> Reply {
        let replaceable = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match &self.secondary {
            Some(secondary) if replaceable && body.is_none() => {
                Box::pin(self.send_to_either(request, secondary)).await
            }
            _ => Reply::of(&self.primary, self.primary.send(request, body).await),
        }
    }

    async fn send_to_either(&self, request: &OriginRequest<'_>, second: &Secondary) -> Reply {
        // The result of a viewer's own credentials is no evidence about the origin.
        let fields = &request.projection.headers;
        let telling = !fields.iter().any(|(name, _)| *name == header::AUTHORIZATION);
        if telling && !second.breaker.admits(second.clock.uptime()) {
            second.failovers.inc();
            let reply = Reply::of(&second.origin, second.origin.send(request, None).await);
            // With no member left, even one that failed is worth a try.
            return match reply.answer {
                Ok(_) => reply,
                Err(error) => {
                    let passed_over = Some((Arc::clone(&second.origin), error));
                    let sent_at = second.clock.uptime();
                    let answer = self.primary.send(request, None).await;
                    second.note(&answer, sent_at);
                    Reply { passed_over, ..Reply::of(&self.primary, answer) }
                }
            };
        }
        let sent_at = second.clock.uptime();
        let first = self.primary.send(request, None).await;
        if telling {
            second.note(&first, sent_at);
        }
        if !second.takes_over_from(&first) {
            return Reply::of(&self.primary, first);
        }
        second.failovers.inc();
        let answer = second.origin.send(request, None).await;
        match (first, answer) {
            (Err(error), answer) => Reply {
                passed_over: Some((Arc::clone(&self.primary), error)),
                ..Reply::of(&second.origin, answer)
            },
            // The secondary has no better response.
            (Ok(first), Err(error)) => Reply {
                passed_over: Some((Arc::clone(&second.origin), error)),
                ..Reply::of(&self.primary, Ok(first))
            },
            (Ok(_), answer) => Reply::of(&second.origin, answer),
        }
    }
}

impl Reply {
    fn of(origin: &Arc<Origin>, answer: Result<OriginResponse, Error>) -> Self {
        Self { answer, by: Arc::clone(origin), passed_over: None }
    }
}

impl Secondary {
    /// CloudFront counts a failure to connect as 503 and a timeout as 504.
    fn takes_over_from(&self, first: &Result<OriginResponse, Error>) -> bool {
        let lists = |status: StatusCode| self.failover.contains(&status);
        match first {
            Ok(answer) => lists(answer.status),
            Err(Error::S3 { status, .. }) => lists(*status),
            // These errors are no evidence about the origin.
            Err(
                Error::ClientBusy
                | Error::TooManyTunnels
                | Error::ViewerContent
                | Error::ViewerTooSlow,
            ) => false,
            Err(Error::ResponseTimeout | Error::CompletionTimeout) => {
                lists(StatusCode::GATEWAY_TIMEOUT)
            }
            Err(_) => lists(StatusCode::SERVICE_UNAVAILABLE) || lists(StatusCode::BAD_GATEWAY),
        }
    }

    /// Records the primary's response to a request sent at `sent_at`.
    fn note(&self, answer: &Result<OriginResponse, Error>, sent_at: Duration) {
        if self.is_failure(answer) {
            self.breaker.failed(None, (sent_at, self.clock.uptime()), None);
        } else {
            self.breaker.succeeded(sent_at);
        }
    }

    /// Whether the result shows a failure of the origin, rather than of the object or Forebay itself.
    fn is_failure(&self, answer: &Result<OriginResponse, Error>) -> bool {
        let of_the_origin = match answer {
            Ok(answer) => answer.status.is_server_error(),
            Err(Error::S3 { status, .. }) => status.is_server_error(),
            Err(error) => !matches!(error.class(), ErrorClass::Busy | ErrorClass::Configuration),
        };
        of_the_origin && self.takes_over_from(answer)
    }
}
