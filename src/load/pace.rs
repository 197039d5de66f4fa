//! Due times of requests.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use rustix::{
    fd::OwnedFd,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec},
};
use tokio::{io::unix::AsyncFd, sync};

use super::{Due, slot::Slot};
use crate::base::clock::Stopwatch;

/// Due times of requests. All threads share them: if a connection is free, no due request
/// waits for another connection.
pub(super) struct Pace {
    due: Due,
    end: Duration,
    /// Number of the next request.
    next: AtomicU64,
    /// Slots of requests that the server has not read.
    given_back: Mutex<Vec<Slot>>,
}

impl Pace {
    /// The due times before `end`.
    pub(super) const fn new(due: Due, end: Duration) -> Self {
        Self { due, end, next: AtomicU64::new(0), given_back: Mutex::new(Vec::new()) }
    }

    /// Waits for the next due time and takes it; `None` if none is left before the end.
    pub(super) async fn take(&self, timer: &Timer, watch: Stopwatch) -> Option<Slot> {
        loop {
            if let Some(slot) = self.take_due(watch) {
                return Some(slot);
            }
            // Of the lanes that wait on a thread, the first waits for the due time.
            let timer = timer.0.lock().await;
            let number = self.next.load(Ordering::Relaxed);
            let moment = self.moment(number)?;
            timer.wait(watch, moment).await;
            if self.take_numbered(number) {
                return Some(Slot { due: moment, number: Some(number) });
            }
        }
    }

    /// Takes a due time that has passed, if any.
    pub(super) fn take_due(&self, watch: Stopwatch) -> Option<Slot> {
        if let Some(slot) = self.given_back.lock().pop() {
            return Some(slot);
        }
        loop {
            let number = self.next.load(Ordering::Relaxed);
            let moment = self.moment(number).filter(|moment| *moment <= watch.elapsed())?;
            if self.take_numbered(number) {
                return Some(Slot { due: moment, number: Some(number) });
            }
        }
    }

    fn take_numbered(&self, number: u64) -> bool {
        let (order, next) = (Ordering::Relaxed, number + 1);
        self.next.compare_exchange(number, next, order, order).is_ok()
    }

    /// Returns a slot, for the next caller to take.
    pub(super) fn give_back(&self, slot: Slot) {
        self.given_back.lock().push(slot);
    }

    /// Whether any due time is left.
    pub(super) fn is_left(&self) -> bool {
        !self.given_back.lock().is_empty()
            || self.moment(self.next.load(Ordering::Relaxed)).is_some()
    }

    /// Takes all due times that are left, and returns how long each was overdue at `end`.
    pub(super) fn never_taken(&self, end: Duration) -> impl Iterator<Item = Duration> {
        let given_back = std::mem::take(&mut *self.given_back.lock());
        let left = std::iter::from_fn(move || {
            let moment = self.moment(self.next.load(Ordering::Relaxed));
            let moment = moment.filter(|moment| *moment < end)?;
            self.next.fetch_add(1, Ordering::Relaxed);
            Some(moment)
        });
        let given_back = given_back.into_iter().map(|slot| slot.due);
        given_back.chain(left).map(move |moment| end.saturating_sub(moment))
    }

    #[expect(clippy::cast_precision_loss, reason = "no run has so many requests")]
    fn moment(&self, number: u64) -> Option<Duration> {
        let moment = match &self.due {
            Due::AtOnce => return None,
            Due::Rate(rate) => Duration::try_from_secs_f64(number as f64 / rate).ok()?,
            Due::Logged(times, _) => *times.get(usize::try_from(number).ok()?)?,
        };
        (moment < self.end).then_some(moment)
    }
}

/// A thread's timer, with one waiter at a time.
pub(super) struct Timer(sync::Mutex<ExactTimer>);

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        ExactTimer::new().map(sync::Mutex::new).map(Self)
    }
}

/// A timer more precise than the runtime's, which counts milliseconds.
struct ExactTimer(AsyncFd<OwnedFd>);

impl ExactTimer {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(unsafe_code, reason = "the runtime's way to watch a file descriptor")]
        // SAFETY: an owned descriptor stays the same, and open, until it is dropped.
        let watched = unsafe { AsyncFd::register(timer)? };
        Ok(Self(watched))
    }

    /// Waits until `watch` reaches `moment`.
    async fn wait(&self, watch: Stopwatch, moment: Duration) {
        loop {
            let left = moment.saturating_sub(watch.elapsed());
            if left.is_zero() {
                return;
            }
            if self.pass(left).await.is_err() {
                tokio::time::sleep(left).await;
            }
        }
    }

    async fn pass(&self, time: Duration) -> io::Result<()> {
        let spec = |duration: Duration| Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: duration.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: spec(Duration::ZERO), it_value: spec(time) };
        rustix::time::timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        let mut ready = self.0.readable().await?;
        // The read returns how often the timer fired.
        let _ = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0_u8; 8])?));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn moments_come_when_they_are_due_and_end() {
        let (watch, timer) = (Stopwatch::start(), Timer::new().expect("a timer"));
        let pace = Pace::new(Due::Rate(2_000.0), Duration::from_millis(2));
        let slot =
            |number: u64, micros| Slot { due: Duration::from_micros(micros), number: Some(number) };
        for (number, expected) in [(0, 0), (1, 500), (2, 1_000), (3, 1_500)] {
            let taken = pace.take(&timer, watch).await.expect("a moment");
            assert_eq!(taken, slot(number, expected));
            assert!(watch.elapsed() >= taken.due);
        }
        assert_eq!((pace.take(&timer, watch).await, pace.is_left()), (None, false));
        pace.give_back(slot(1, 500));
        assert!(pace.is_left());
        assert_eq!(pace.take(&timer, watch).await, Some(slot(1, 500)));
        let seldom = Pace::new(Due::Rate(f64::MIN_POSITIVE), Duration::MAX);
        assert_eq!(seldom.take(&timer, watch).await, Some(slot(0, 0)));
        assert_eq!(seldom.take(&timer, watch).await, None, "nobody lives so long");
    }

    #[tokio::test]
    async fn each_moment_is_taken_once_whoever_takes_it() {
        let (watch, pace) =
            (Stopwatch::start(), Pace::new(Due::Rate(20_000.0), Duration::from_millis(100)));
        let (one, other) = (Timer::new().expect("a timer"), Timer::new().expect("a timer"));
        let all = async |timer: &Timer| {
            let mut taken = Vec::new();
            while let Some(moment) = pace.take(timer, watch).await {
                taken.push(moment.due);
            }
            taken
        };
        let (first, second, third) = tokio::join!(all(&one), all(&one), all(&other));
        let mut taken = [first, second, third].concat();
        taken.sort_unstable();
        assert!(taken.iter().copied().eq((0..2_000).map(|n| Duration::from_micros(50 * n))));
    }

    #[tokio::test]
    async fn what_nobody_takes_is_told() {
        let watch = Stopwatch::start();
        let pace = || Pace::new(Due::Rate(100.0), Duration::from_millis(50));
        let left = |pace: &Pace, end| {
            let waited = pace.never_taken(Duration::from_millis(end));
            waited.map(|waited| waited.as_millis()).collect::<Vec<_>>()
        };
        let first = pace();
        assert_eq!(first.take_due(watch).map(|slot| slot.due), Some(Duration::ZERO));
        assert_eq!(first.take_due(watch), None, "the next is not due");
        assert_eq!(left(&first, 45), [35, 25, 15, 5]);
        assert_eq!(left(&first, 45), [0; 0], "once");
        let second = pace();
        let moment = second.take_due(watch).expect("due");
        second.give_back(moment);
        assert_eq!(left(&second, 1_000), [1_000, 990, 980, 970, 960], "none after the run");
    }
}
