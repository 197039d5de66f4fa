//! Origin groups: a primary, and a secondary that stands in for it
//! (Amazon CloudFront Developer Guide, "Optimize high availability with CloudFront origin failover").

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use prometheus_client::metrics::counter::Counter;

use super::{Answer, Error, ErrorClass, Origin, OriginRequest};
use crate::{
    body::Body,
    clock::{Clock, Timestamp},
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
    pub answer: Result<Answer, Error>,
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

    /// The members, the primary first.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Origin>> {
        std::iter::once(&self.primary).chain(self.secondary.iter().map(|second| &second.origin))
    }

    /// Asks the primary or, where it fails, the secondary.
    pub async fn send(&self, request: OriginRequest<'_>, body: Option<Body>) -> Reply {
        let replaceable = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match &self.secondary {
            Some(secondary) if replaceable && body.is_none() => {
                self.send_to_either(request, secondary).await
            }
            _ => Reply::of(&self.primary, self.primary.send(&request, body).await),
        }
    }

    async fn send_to_either(&self, request: OriginRequest<'_>, second: &Secondary) -> Reply {
        let now = second.clock.now();
        if !second.breaker.admits(now) {
            let reply = Reply::of(&second.origin, second.origin.send(&request, None).await);
            // With nobody else left, even a member that failed is worth a try.
            return match reply.answer {
                Ok(_) => reply,
                Err(error) => {
                    let passed_over = Some((Arc::clone(&second.origin), error));
                    let answer = self.primary.send(&request, None).await;
                    Reply { passed_over, ..Reply::of(&self.primary, answer) }
                }
            };
        }
        let first = self.primary.send(&request, None).await;
        second.breaker.note(is_failure(&first), second.clock.now());
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
    fn of(origin: &Arc<Origin>, answer: Result<Answer, Error>) -> Self {
        Self { answer, by: Arc::clone(origin), passed_over: None }
    }
}

impl Secondary {
    /// CloudFront counts a failure to connect as 503 and a timeout as 504.
    fn takes_over_from(&self, first: &Result<Answer, Error>) -> bool {
        let lists = |status: StatusCode| self.failover.contains(&status);
        match first {
            Ok(answer) => lists(answer.status),
            Err(error) if error.class() == ErrorClass::Timeout => {
                lists(StatusCode::GATEWAY_TIMEOUT)
            }
            Err(_) => lists(StatusCode::SERVICE_UNAVAILABLE) || lists(StatusCode::BAD_GATEWAY),
        }
    }
}

/// Whether it tells of the origin and not of the object.
fn is_failure(answer: &Result<Answer, Error>) -> bool {
    answer.as_ref().map_or(true, |answer| answer.status.is_server_error())
}

/// Keeps requests away from a member that fails again and again.
#[derive(Debug, Default)]
struct Breaker {
    failures: AtomicU32,
    /// In milliseconds since the epoch; zero while requests are let through.
    closed_until: AtomicU64,
}

impl Breaker {
    /// Whether the member is to be asked. After each pause one request is let through to find out.
    fn admits(&self, now: Timestamp) -> bool {
        let until = self.closed_until.load(Ordering::Acquire);
        if until == 0 {
            return true;
        }
        let next = now.as_millis() + pause();
        now.as_millis() >= until
            && self
                .closed_until
                .compare_exchange(until, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    fn note(&self, failed: bool, now: Timestamp) {
        if !failed {
            self.failures.store(0, Ordering::Release);
            self.closed_until.store(0, Ordering::Release);
        } else if self.failures.fetch_add(1, Ordering::AcqRel) + 1 >= FAILURES {
            self.closed_until.store(now.as_millis() + pause(), Ordering::Release);
        }
    }
}

fn pause() -> u64 {
    u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_keeps_failing_is_asked_once_in_a_while() {
        let (breaker, start) = (Breaker::default(), Timestamp::from_secs(1000));
        for _ in 0..FAILURES {
            assert!(breaker.admits(start));
            breaker.note(true, start);
        }
        assert!(!breaker.admits(start));
        let later = Timestamp::from_secs(1010);
        assert!(breaker.admits(later), "one may try");
        assert!(!breaker.admits(later), "and no other meanwhile");
        breaker.note(true, later);
        assert!(!breaker.admits(Timestamp::from_secs(1019)));
        assert!(breaker.admits(Timestamp::from_secs(1020)));
        breaker.note(false, Timestamp::from_secs(1020));
        assert!(breaker.admits(Timestamp::from_secs(1020)));
        breaker.note(true, Timestamp::from_secs(1020));
        assert!(breaker.admits(Timestamp::from_secs(1020)), "one failure is none too many");
    }
}
