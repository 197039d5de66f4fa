//! The origin's troubles, told to the operator once and not a thousand times a second.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::refusal;
use crate::{
    clock::Clock,
    origin::{Error, ErrorClass, Origin},
    store::Failure,
};

/// At most one line about each cause in this time; the others are counted into the next.
const QUIET: Duration = Duration::from_secs(1);

/// Turns origin errors into failures, and into log lines of a bounded number.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    clock: Clock,
    causes: [Cause; ErrorClass::ALL.len()],
}

#[derive(Debug, Default)]
struct Cause {
    /// Milliseconds since the epoch; zero before the first line.
    last_line: AtomicU64,
    unsaid: AtomicU64,
}

impl Troubles {
    /// The viewer's failure for an origin's error; the error itself goes to the log.
    pub(super) fn failure(&self, origin: &Origin, error: &Error) -> Failure {
        let class = error.class();
        if let Some(unsaid) = self.may_speak(class) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(
                origin = origin.options().id,
                error = %error,
                cause,
                advice = error.advice(),
                similar_since_last_line = unsaid,
                "origin request failed"
            );
        }
        refusal::failure(class)
    }

    /// How many lines were held back since the last one, if it is time for another.
    fn may_speak(&self, class: ErrorClass) -> Option<u64> {
        let cause = self.causes.get(class as usize)?;
        let now = self.clock.now();
        let last = cause.last_line.load(Ordering::Relaxed);
        let quiet = now.since(crate::clock::Timestamp::from_millis(last)) < QUIET;
        let won = || {
            let now = now.as_millis();
            cause.last_line.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
        };
        if quiet || won().is_err() {
            cause.unsaid.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(cause.unsaid.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn one_line_a_second_for_each_cause() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let troubles = Troubles { clock: clock.clone(), ..Troubles::default() };
        assert_eq!(troubles.may_speak(ErrorClass::Dns), Some(0));
        assert_eq!(troubles.may_speak(ErrorClass::Dns), None);
        assert_eq!(troubles.may_speak(ErrorClass::Tls), Some(0));
        clock.advance(QUIET);
        assert_eq!(troubles.may_speak(ErrorClass::Dns), Some(1));
    }
}
