//! A circuit breaker: after several failures in a row, an origin gets no requests for a while.

use std::time::Duration;

use parking_lot::Mutex;

/// Pauses requests to an origin that fails. After each pause, one request tries it again.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures in a row that start a pause.
    limit: u32,
    /// The length of a pause; the number of pauses before it is the argument.
    pause: fn(u32) -> Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    pauses: u32,
    paused: Option<Pause>,
}

/// Times are uptimes of the process.
#[derive(Clone, Copy, Debug)]
struct Pause {
    started: Duration,
    length: Duration,
    until: Duration,
}

impl Breaker {
    pub(super) const fn new(limit: u32, pause: fn(u32) -> Duration) -> Self {
        let state = State { failures: 0, pauses: 0, paused: None };
        Self { limit, pause, state: Mutex::new(state) }
    }

    /// Whether a request may be sent. At the end of a pause, one may; the others wait for another such pause or
    /// for its success.
    pub(super) fn admits(&self, now: Duration) -> bool {
        match &mut self.state.lock().paused {
            None => true,
            Some(pause) if now < pause.until => false,
            Some(pause) => {
                pause.until = now + pause.length;
                true
            }
        }
    }

    /// Notes that a request failed which was sent at `sent_at`. `least` is the shortest pause that the origin
    /// requested; it starts a pause at once. Returns the length of the pause, if one starts.
    pub(super) fn failed(
        &self,
        sent_at: Duration,
        now: Duration,
        least: Option<Duration>,
    ) -> Option<Duration> {
        let mut state = self.state.lock();
        // A request from before the pause says nothing new.
        if state.paused.is_some_and(|pause| sent_at < pause.started) {
            return None;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures < self.limit && least.is_none() {
            return None;
        }
        let length = (self.pause)(state.pauses).max(least.unwrap_or_default());
        state.pauses = state.pauses.saturating_add(1);
        state.paused = Some(Pause { started: now, length, until: now + length });
        Some(length)
    }

    /// Notes that a request succeeded. Returns whether that ends a pause.
    pub(super) fn succeeded(&self) -> bool {
        std::mem::take(&mut *self.state.lock()).paused.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn after_failures_in_a_row_one_request_a_pause_is_sent() {
        let breaker = Breaker::new(5, |_| seconds(10));
        let start = seconds(1000);
        for _ in 0..4 {
            assert_eq!(breaker.failed(start, start, None), None);
            assert!(breaker.admits(start));
        }
        assert_eq!(breaker.failed(start, start, None), Some(seconds(10)));
        assert!(!breaker.admits(seconds(1009)));
        let later = seconds(1010);
        assert!(breaker.admits(later), "one may try");
        assert!(!breaker.admits(later), "and no other meanwhile");
        assert_eq!(breaker.failed(later, later, None), Some(seconds(10)));
        assert!(!breaker.admits(seconds(1019)));
        assert!(breaker.admits(seconds(1020)));
        assert!(breaker.succeeded(), "it was paused");
        assert!(!breaker.succeeded());
        assert_eq!(breaker.failed(seconds(1021), seconds(1021), None), None, "one is too few");
        assert!(breaker.admits(seconds(1021)));
    }

    #[test]
    fn pauses_grow_and_late_failures_do_not_count() {
        let breaker = Breaker::new(1, |pauses| seconds(1 << pauses));
        assert_eq!(breaker.failed(seconds(10), seconds(10), None), Some(seconds(1)));
        assert_eq!(breaker.failed(seconds(9), seconds(11), None), None);
        assert_eq!(breaker.failed(seconds(11), seconds(11), None), Some(seconds(2)));
        assert_eq!(breaker.failed(seconds(13), seconds(13), None), Some(seconds(4)));
    }

    #[test]
    fn an_origin_may_request_a_pause() {
        let breaker = Breaker::new(3, |_| seconds(1));
        assert_eq!(breaker.failed(seconds(1), seconds(1), Some(seconds(7))), Some(seconds(7)));
        assert!(!breaker.admits(seconds(7)));
        assert!(breaker.admits(seconds(8)));
    }
}
