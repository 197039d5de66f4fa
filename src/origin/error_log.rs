//! Logs one origin's errors at a limited rate for each cause.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::StatusCode;

use super::{
    Origin, OriginRequest,
    content::NotContinued,
    recent_outcomes::{Outcomes, RecentOutcomes},
    subject::Subject,
};
use crate::{
    aws::describe,
    base::{
        clock::Timestamp,
        log::{LogLimiter, unless_zero},
    },
    cache::store::FetchError,
    http::body::BodyError,
    outbound::{Error, ErrorClass},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Causes that are rate-limited separately. If there are more, some share a limit.
const CAUSES: usize = 32;

/// The failure that viewers see for a class of origin errors.
pub(crate) const fn failure(class: ErrorClass) -> FetchError {
    FetchError { status: class.status(), detail: class.token() }
}

/// What to do about a server error that an origin answered itself.
pub(crate) const SERVER_ERROR_ADVICE: &str = "see the log of the origin for the cause";

/// A bucket denies an object that it served before.
pub(crate) const DENIED: FetchError =
    FetchError { status: StatusCode::FORBIDDEN, detail: "origin-denied" };

/// Limits the log of one origin to one line a second for each cause.
#[derive(Debug, Default)]
pub(super) struct ErrorLog {
    limiters: [LogLimiter; CAUSES],
    last: ArcSwapOption<LoggedError>,
    /// Whether the last request failed.
    is_failing: AtomicBool,
    recent: RecentOutcomes,
}

/// An error of an origin, for `explain` and the dashboard.
#[derive(Debug)]
pub(crate) struct LoggedError {
    pub(crate) at: Timestamp,
    pub(crate) text: String,
    pub(crate) advice: String,
}

impl ErrorLog {
    /// Returns the number of suppressed lines if another may be logged now.
    fn admit(&self, cause: impl Hash, now: Timestamp) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        cause.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % CAUSES as u64).ok()?;
        self.limiters.get(index)?.admit(now)
    }
}

/// Logs an event with the fields that every line about an origin has.
macro_rules! log_origin {
    ($level:ident, $origin:expr, $subject:expr, $($fields:tt)+) => {
        tracing::$level!(
            distribution = $origin.metrics.distribution(),
            origin = $origin.options.address.authority,
            bucket = $origin.options.protocol.bucket(),
            path = &*$subject.path,
            request_id = $subject.id.as_deref(),
            $($fields)+
        )
    };
}

impl Origin {
    /// The last error. Requests may have succeeded since.
    pub(crate) fn last_error(&self) -> Option<Arc<LoggedError>> {
        self.errors.last.load_full()
    }

    /// The last error, if it is less than a minute old or no request has succeeded since: an origin may fail some requests and
    /// answer others.
    pub(crate) fn current_error(&self, now: Timestamp) -> Option<Arc<LoggedError>> {
        self.last_error().filter(|last| self.is_failing() || now.since(last.at) < MINUTE)
    }

    /// Whether the last request failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.errors.is_failing.load(Ordering::Relaxed)
    }

    /// How many requests failed in the last minute.
    pub(crate) fn recent_outcomes(&self, now: Timestamp) -> Outcomes {
        self.errors.recent.sums(now)
    }

    /// Logs a server error of a plain origin, which viewers get as it is; any other response shows that the origin
    /// works. The server errors of S3 never come here: they are [`Error`]s.
    pub(super) fn note_answer(&self, request: &OriginRequest<'_>, status: StatusCode) {
        self.note_outcome(status.is_server_error());
        if !status.is_server_error() {
            return;
        }
        let text = format!("the origin answered {status}");
        self.remember(text.clone(), SERVER_ERROR_ADVICE.to_owned());
        if let Some(suppressed) = self.errors.admit(status, self.clock.now()) {
            let subject = Subject::of(request);
            log_origin!(
                warn,
                self,
                subject,
                advice = SERVER_ERROR_ADVICE,
                suppressed = unless_zero(suppressed),
                "{text}"
            );
        }
    }

    /// Counts a request that failed in the end, or succeeded.
    pub(super) fn note_outcome(&self, is_failure: bool) {
        self.errors.recent.add(is_failure, self.clock.now());
        if self.is_failing() != is_failure {
            self.errors.is_failing.store(is_failure, Ordering::Relaxed);
        }
    }

    fn remember(&self, text: String, advice: String) {
        let at = self.clock.now();
        self.errors.last.store(Some(Arc::new(LoggedError { at, text, advice })));
    }

    /// Logs an error and returns the failure that viewers see.
    pub(crate) fn log_error(&self, subject: &Subject, error: &Error) -> FetchError {
        if error.is_viewers() {
            return failure(error.class());
        }
        let advice = self.options.advice(error);
        self.remember(describe(error), advice.clone());
        if let Some(suppressed) = self.errors.admit(error.to_string(), self.clock.now()) {
            log_origin!(
                error,
                self,
                subject,
                cause = std::error::Error::source(error).map(ToString::to_string),
                advice,
                suppressed = unless_zero(suppressed),
                "{error}"
            );
        }
        failure(error.class())
    }

    /// Logs that S3 denies an object. This may be intentional.
    pub(crate) fn log_denial(&self, subject: &Subject) {
        const MESSAGE: &str = "S3 answered 403 for an object";
        const ADVICE: &str = "if the object exists, allow s3:GetObject on it; \
                              if it does not, allow s3:ListBucket on the bucket to get a 404";
        self.metrics.error(DENIED.detail);
        self.remember(MESSAGE.to_owned(), ADVICE.to_owned());
        if let Some(suppressed) = self.errors.admit("denied", self.clock.now()) {
            log_origin!(
                warn,
                self,
                subject,
                advice = ADVICE,
                suppressed = unless_zero(suppressed),
                "{MESSAGE}"
            );
        }
    }

    /// Logs that a response broke off, and whether a request for the rest continues it.
    pub(super) fn log_break(
        &self,
        subject: &Subject,
        error: &BodyError,
        continued: Result<(), &NotContinued>,
    ) {
        let message = match continued {
            Ok(()) => "the origin's response was cut off; a range request continues it",
            Err(_) => "the origin's response was cut off and cannot be continued",
        };
        if let Some(suppressed) = self.errors.admit(message, self.clock.now()) {
            log_origin!(
                warn,
                self,
                subject,
                cause = error.to_string(),
                reason = continued.err().map(ToString::to_string),
                suppressed = unless_zero(suppressed),
                "{message}"
            );
        }
    }

    /// Logs that a throttling origin gets no requests for a while.
    pub(super) fn log_pause(&self, subject: &Subject, pause: Duration, error: &Error) {
        if let Some(suppressed) = self.errors.admit("pause", self.clock.now()) {
            log_origin!(
                warn,
                self,
                subject,
                cause = error.to_string(),
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                suppressed = unless_zero(suppressed),
                "S3 is throttling: origin requests are paused, stale copies are served"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::log::QUIET;

    #[test]
    fn one_line_a_second_for_each_cause() {
        let log = ErrorLog::default();
        let now = Timestamp::from_secs(1000);
        assert_eq!(log.admit("dns", now), Some(0));
        assert_eq!(log.admit("dns", now), None);
        assert_eq!(log.admit("tls", now), Some(0));
        assert_eq!(log.admit("dns", now + QUIET), Some(1));
    }
}
