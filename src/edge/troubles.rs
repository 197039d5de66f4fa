//! The origin's troubles, told to the operator once and not a thousand times a second.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::refusal;
use crate::{
    clock::Clock,
    log::LogLimiter,
    origin::{Error, Origin},
    store::Failure,
};

/// Causes that are logged separately; more of them share their lines.
const CAUSES: usize = 32;

/// Turns origin errors into failures, and into log lines of a bounded number.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    clock: Clock,
    causes: [LogLimiter; CAUSES],
}

impl Troubles {
    /// The viewer's failure for an origin's error; the error itself goes to the log.
    pub(super) fn failure(&self, origin: &Origin, error: &Error) -> Failure {
        if !error.is_viewers()
            && let Some(unsaid) = self.may_speak(origin, &error.to_string())
        {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(
                origin = origin.options().address.authority,
                cause,
                advice = error.advice(),
                similar = unsaid,
                "{error}"
            );
        }
        refusal::failure(error.class())
    }

    /// S3 denies an object. That may be meant so; if it is not, the operator wants to know.
    pub(super) fn denied(&self, origin: &Origin) {
        if let Some(unsaid) = self.may_speak(origin, "denied") {
            tracing::warn!(
                origin = origin.options().address.authority,
                advice = "if the object is there, the credentials lack s3:GetObject on it; \
                          if it is missing, s3:ListBucket on the bucket would make this a 404",
                similar = unsaid,
                "S3 answered 403 for an object"
            );
        }
    }

    /// How many lines were held back since the last one, if it is time for another.
    fn may_speak(&self, origin: &Origin, what: &str) -> Option<u64> {
        self.may_speak_of((&origin.options().address.authority, what))
    }

    fn may_speak_of(&self, cause: impl Hash) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        cause.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % CAUSES as u64).ok()?;
        self.causes.get(place)?.admit(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, log::QUIET};

    #[test]
    fn one_line_a_second_for_each_cause() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let troubles = Troubles { clock: clock.clone(), ..Troubles::default() };
        assert_eq!(troubles.may_speak_of("dns"), Some(0));
        assert_eq!(troubles.may_speak_of("dns"), None);
        assert_eq!(troubles.may_speak_of("tls"), Some(0));
        clock.advance(QUIET);
        assert_eq!(troubles.may_speak_of("dns"), Some(1));
    }
}
