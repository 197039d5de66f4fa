//! A circuit breaker: after several failures in a row, an origin gets no requests for a while.

use std::time::Duration;

use parking_lot::Mutex;

/// Pauses requests to a failing origin. After each pause, one request tries it again.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Consecutive failures that start a pause.
    limit: u32,
    /// The length of a pause, by the number of pauses before it.
    pause: fn(u32) -> Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// The objects of the failures, at most as many as count.
    objects: Vec<u64>,
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
        let state = State { failures: 0, objects: Vec::new(), pauses: 0, paused: None };
        Self { limit, pause, state: Mutex::new(state) }
    }

    /// Whether a request may be sent. When a pause ends, one may. The others wait until it succeeds or another such
    /// pause ends.
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

    /// Whether the origin is paused, so that this request is the one that tries it.
    pub(super) fn is_paused(&self) -> bool {
        self.state.lock().paused.is_some()
    }

    /// Records the failure of a request sent at `sent_at`. Failures of the same `object` count once: it may be broken.
    /// `least` is the shortest pause that the origin requested. Returns the length of the pause, if one starts.
    pub(super) fn failed(
        &self,
        object: Option<u64>,
        (sent_at, now): (Duration, Duration),
        least: Option<Duration>,
    ) -> Option<Duration> {
        let mut state = self.state.lock();
        if state.is_old(sent_at) {
            return None;
        }
        if let Some(object) = object {
            if state.objects.contains(&object) {
                return None;
            }
            if state.failures < self.limit {
                state.objects.push(object);
            }
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures < self.limit {
            return None;
        }
        let length = (self.pause)(state.pauses).max(least.unwrap_or_default());
        state.pauses = state.pauses.saturating_add(1);
        state.paused = Some(Pause { started: now, length, until: now + length });
        Some(length)
    }

    /// Records the success of a request sent at `sent_at`. Returns whether that ends a pause.
    pub(super) fn succeeded(&self, sent_at: Duration) -> bool {
        let mut state = self.state.lock();
        !state.is_old(sent_at) && std::mem::take(&mut *state).paused.is_some()
    }
}

impl State {
    /// Whether a request was sent before the pause, so that its result is not new.
    fn is_old(&self, sent_at: Duration) -> bool {
        self.paused.is_some_and(|pause| sent_at < pause.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// A failure of a request that is sent and answered in the same second.
    fn fail(breaker: &Breaker, at: u64) -> Option<Duration> {
        breaker.failed(None, (seconds(at), seconds(at)), None)
    }

    #[test]
    fn after_failures_in_a_row_one_request_a_pause_is_sent() {
        let breaker = Breaker::new(5, |_| seconds(10));
        for _ in 0..4 {
            assert_eq!(fail(&breaker, 1000), None);
            assert!(breaker.admits(seconds(1000)));
        }
        assert_eq!(fail(&breaker, 1000), Some(seconds(10)));
        assert!(!breaker.admits(seconds(1009)));
        assert!(breaker.admits(seconds(1010)), "one may try");
        assert!(!breaker.admits(seconds(1010)), "and no other meanwhile");
        assert_eq!(fail(&breaker, 1010), Some(seconds(10)));
        assert!(!breaker.admits(seconds(1019)));
        assert!(breaker.admits(seconds(1020)));
        assert!(breaker.succeeded(seconds(1020)), "it was paused");
        assert!(!breaker.succeeded(seconds(1021)));
        assert_eq!(fail(&breaker, 1021), None, "one is too few");
        assert!(breaker.admits(seconds(1021)));
    }

    #[test]
    fn pauses_grow_and_requests_from_before_do_not_count() {
        let breaker = Breaker::new(1, |pauses| seconds(1 << pauses));
        assert_eq!(fail(&breaker, 10), Some(seconds(1)));
        assert_eq!(breaker.failed(None, (seconds(9), seconds(11)), None), None);
        assert!(!breaker.succeeded(seconds(9)));
        assert!(!breaker.admits(seconds(10)));
        assert_eq!(fail(&breaker, 11), Some(seconds(2)));
        assert_eq!(fail(&breaker, 13), Some(seconds(4)));
    }

    #[test]
    fn an_origin_may_request_a_longer_pause() {
        let breaker = Breaker::new(2, |_| seconds(1));
        let fail =
            |at, least| breaker.failed(None, (seconds(at), seconds(at)), Some(seconds(least)));
        assert_eq!(fail(1, 7), None, "one failure may be about one object");
        assert_eq!(fail(1, 7), Some(seconds(7)));
        assert!(!breaker.admits(seconds(7)));
        assert!(breaker.admits(seconds(8)));
    }

    #[test]
    fn one_broken_object_pauses_nothing() {
        let breaker = Breaker::new(3, |_| seconds(1));
        let fail = |object| breaker.failed(Some(object), (seconds(1), seconds(1)), None);
        for _ in 0..10 {
            assert_eq!(fail(7), None);
            assert_eq!(fail(8), None);
        }
        assert_eq!(fail(9), Some(seconds(1)));
        assert_eq!(fail(7), None, "it says nothing new");
    }
}
