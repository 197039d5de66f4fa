//! The log of origin errors, at a bounded rate for each cause.

use std::hash::{DefaultHasher, Hash, Hasher};

use http::StatusCode;

use super::Origin;
use crate::{
    base::{clock::Clock, log::LogLimiter},
    cache::store::FetchError,
    outbound::{Error, ErrorClass},
};

/// Causes that are logged separately; more of them share their lines.
const CAUSES: usize = 32;

/// The failure that viewers see for a class of origin errors.
pub(crate) const fn failure(class: ErrorClass) -> FetchError {
    FetchError { status: class.status(), detail: class.token() }
}

/// A bucket denies an object that it served before.
pub(crate) const DENIED: FetchError =
    FetchError { status: StatusCode::FORBIDDEN, detail: "origin-denied" };

/// Logs origin errors, at most one line a second for each cause, and turns them into failures.
#[derive(Debug, Default)]
pub struct ErrorLog {
    clock: Clock,
    causes: [LogLimiter; CAUSES],
}

impl ErrorLog {
    /// Logs an origin's error and returns the failure that viewers see.
    pub(crate) fn failure(&self, origin: &Origin, error: &Error) -> FetchError {
        if !error.is_viewers()
            && let Some(suppressed) = self.admit(origin, &error.to_string())
        {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(
                origin = origin.options().address.authority,
                cause,
                advice = error.advice(),
                similar = suppressed,
                "{error}"
            );
        }
        failure(error.class())
    }

    /// Logs that S3 denies an object. The operator may have intended that.
    pub(crate) fn denied(&self, origin: &Origin) {
        if let Some(suppressed) = self.admit(origin, "denied") {
            tracing::warn!(
                origin = origin.options().address.authority,
                advice = "if the object is there, the credentials lack s3:GetObject on it; \
                          if it is missing, s3:ListBucket on the bucket would make this a 404",
                similar = suppressed,
                "S3 answered 403 for an object"
            );
        }
    }

    /// Returns the number of suppressed lines if another may be logged now.
    fn admit(&self, origin: &Origin, what: &str) -> Option<u64> {
        self.admit_cause((&origin.options().address.authority, what))
    }

    fn admit_cause(&self, cause: impl Hash) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        cause.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % CAUSES as u64).ok()?;
        self.causes.get(place)?.admit(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{clock::Timestamp, log::QUIET};

    #[test]
    fn one_line_a_second_for_each_cause() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let log = ErrorLog { clock: clock.clone(), ..ErrorLog::default() };
        assert_eq!(log.admit_cause("dns"), Some(0));
        assert_eq!(log.admit_cause("dns"), None);
        assert_eq!(log.admit_cause("tls"), Some(0));
        clock.advance(QUIET);
        assert_eq!(log.admit_cause("dns"), Some(1));
    }
}
