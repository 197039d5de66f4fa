//! Origin groups: a primary, and a secondary that stands in for it
//! (Amazon CloudFront Developer Guide, "Optimize high availability with CloudFront origin failover").

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode, header};
use prometheus_client::metrics::counter::Counter;

use super::{Origin, OriginRequest, OriginResponse};
use crate::{
    base::clock::Clock,
    http::body::Body,
    outbound::{Error, ErrorClass},
};

/// So many failures one after another, and the primary is not asked for a while.
const FAILURES: u32 = 5;

/// For so long; then one request tries it again.
const PAUSE: Duration = Duration::from_secs(10);

/// Status codes at which CloudFront can turn to the secondary.
pub const FAILOVER_CODES: [u16; 9] = [400, 403, 404, 416, 429, 500, 502, 503, 504];

/// What a behavior asks: one origin, or a group of two.
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

/// What asking a group brought.
#[derive(Debug)]
pub struct Reply {
    /// The answer that counts, or why there is none.
    pub answer: Result<OriginResponse, Error>,
    /// Who gave it.
    pub by: Arc<Origin>,
    /// A failure that the other member made up for.
    pub passed_over: Option<(Arc<Origin>, Error)>,
}

impl Group {
    /// One origin alone.
    #[must_use]
    pub const fn single(origin: Arc<Origin>) -> Self {
        Self { primary: origin, secondary: None }
    }

    /// A primary whose place `secondary` takes where it fails, or answers with a status among
    /// `failover`.
    #[must_use]
    pub fn pair(
        primary: Arc<Origin>,
        secondary: Arc<Origin>,
        failover: Vec<StatusCode>,
        clock: Clock,
        failovers: Counter,
    ) -> Self {
        let breaker = Breaker::default();
        let secondary = Secondary { origin: secondary, failover, breaker, clock, failovers };
        Self { primary, secondary: Some(secondary) }
    }

    /// The one that is asked first.
    #[must_use]
    pub const fn primary(&self) -> &Arc<Origin> {
        &self.primary
    }

    /// The members, the primary first.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Origin>> {
        std::iter::once(&self.primary).chain(self.secondary.iter().map(|second| &second.origin))
    }

    /// Asks the primary or, where it fails, the secondary.
    pub async fn send(&self, request: OriginRequest<'_>, body: Option<Body>) -> Reply {
        let replaceable = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match &self.secondary {
            Some(secondary) if replaceable && body.is_none() => {
                Box::pin(self.send_to_either(request, secondary)).await
            }
            _ => Reply::of(&self.primary, self.primary.send(&request, body).await),
        }
    }

    async fn send_to_either(&self, request: OriginRequest<'_>, second: &Secondary) -> Reply {
        // What a viewer's own credentials lead to says nothing about the origin.
        let fields = &request.projection.headers;
        let telling = !fields.iter().any(|(name, _)| *name == header::AUTHORIZATION);
        if telling && !second.breaker.admits(second.clock.uptime()) {
            second.failovers.inc();
            let reply = Reply::of(&second.origin, second.origin.send(&request, None).await);
            // With nobody else left, even a member that failed is worth a try.
            return match reply.answer {
                Ok(_) => reply,
                Err(error) => {
                    let passed_over = Some((Arc::clone(&second.origin), error));
                    let answer = self.primary.send(&request, None).await;
                    second.breaker.note(second.is_failure(&answer), second.clock.uptime());
                    Reply { passed_over, ..Reply::of(&self.primary, answer) }
                }
            };
        }
        let first = self.primary.send(&request, None).await;
        if telling {
            second.breaker.note(second.is_failure(&first), second.clock.uptime());
        }
        if !second.takes_over_from(&first) {
            return Reply::of(&self.primary, first);
        }
        second.failovers.inc();
        let answer = second.origin.send(&request, None).await;
        match (first, answer) {
            (Err(error), answer) => Reply {
                passed_over: Some((Arc::clone(&self.primary), error)),
                ..Reply::of(&second.origin, answer)
            },
            // The secondary has nothing better to say.
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
            // Neither says anything about the origin.
            Err(Error::ClientBusy | Error::ViewerContent | Error::ViewerTooSlow) => false,
            Err(Error::ResponseTimeout) => lists(StatusCode::GATEWAY_TIMEOUT),
            Err(_) => lists(StatusCode::SERVICE_UNAVAILABLE) || lists(StatusCode::BAD_GATEWAY),
        }
    }

    /// Whether it tells that the origin fails, and not of the object or of us.
    fn is_failure(&self, answer: &Result<OriginResponse, Error>) -> bool {
        let of_the_origin = match answer {
            Ok(answer) => answer.status.is_server_error(),
            Err(Error::S3 { status, .. }) => status.is_server_error(),
            Err(error) => !matches!(error.class(), ErrorClass::Busy | ErrorClass::Configuration),
        };
        of_the_origin && self.takes_over_from(answer)
    }
}

/// Keeps requests away from a member that fails again and again.
#[derive(Debug, Default)]
struct Breaker {
    failures: AtomicU32,
    /// In milliseconds of uptime; zero while requests are let through.
    left_alone_until: AtomicU64,
}

impl Breaker {
    /// Whether the member is to be asked. After each pause one request is let through to find out.
    fn admits(&self, now: Duration) -> bool {
        let until = self.left_alone_until.load(Ordering::Acquire);
        if until == 0 {
            return true;
        }
        let next = milliseconds(now) + milliseconds(PAUSE);
        milliseconds(now) >= until
            && self
                .left_alone_until
                .compare_exchange(until, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    fn note(&self, failed: bool, now: Duration) {
        if !failed {
            self.failures.store(0, Ordering::Release);
            self.left_alone_until.store(0, Ordering::Release);
        } else if self.failures.fetch_add(1, Ordering::AcqRel) + 1 >= FAILURES {
            self.left_alone_until.store(milliseconds(now) + milliseconds(PAUSE), Ordering::Release);
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_keeps_failing_is_asked_once_in_a_while() {
        let (breaker, start) = (Breaker::default(), Duration::from_secs(1000));
        for _ in 0..FAILURES {
            assert!(breaker.admits(start));
            breaker.note(true, start);
        }
        assert!(!breaker.admits(start));
        let later = Duration::from_secs(1010);
        assert!(breaker.admits(later), "one may try");
        assert!(!breaker.admits(later), "and no other meanwhile");
        breaker.note(true, later);
        assert!(!breaker.admits(Duration::from_secs(1019)));
        assert!(breaker.admits(Duration::from_secs(1020)));
        breaker.note(false, Duration::from_secs(1020));
        assert!(breaker.admits(Duration::from_secs(1020)));
        breaker.note(true, Duration::from_secs(1020));
        assert!(breaker.admits(Duration::from_secs(1020)), "one failure is none too many");
    }
}
