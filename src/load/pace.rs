//! When requests are due, where they come at a constant rate.

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

use super::Until;
use crate::clock::Stopwatch;

/// Which connections, and which requests of a constant rate, a thread has: those that come to it when all
/// connections are dealt to the threads in turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deal {
    /// The thread, counted from zero.
    pub(super) thread: usize,
    /// All threads; no more than there are connections.
    pub(super) threads: usize,
    /// All connections.
    pub(super) connections: usize,
}

impl Deal {
    /// How many connections the thread has.
    pub(super) const fn connections(self) -> usize {
        (self.connections - self.thread).div_ceil(self.threads)
    }

    /// Which of all requests is the thread's next after `number`.
    const fn after(self, number: u64) -> u64 {
        let (threads, all) = (self.threads as u64, self.connections as u64);
        if number % all + threads < all {
            number + threads
        } else {
            (number / all + 1) * all + self.thread as u64
        }
    }
}

/// The moments when a thread's requests are due. Those of all threads together are at even distances.
pub(super) struct Pace {
    rate: f64,
    until: Until,
    deal: Deal,
    /// Which of all requests is next here. Who holds the timer takes it.
    next: AtomicU64,
    timer: sync::Mutex<Timer>,
    /// Moments of requests that the server has not read.
    given_back: Mutex<Vec<Duration>>,
}

impl Pace {
    /// `rate` moments a second, of all threads together.
    ///
    /// # Errors
    /// When the system has no timer.
    pub(super) fn new(rate: f64, until: Until, deal: Deal) -> io::Result<Self> {
        let (next, timer) = (AtomicU64::new(deal.thread as u64), sync::Mutex::new(Timer::new()?));
        Ok(Self { rate, until, deal, next, timer, given_back: Mutex::default() })
    }

    /// Waits for the next moment, and takes it; `None` when none is left before the end.
    pub(super) async fn take(&self, watch: Stopwatch) -> Option<Duration> {
        if let Some(moment) = self.given_back.lock().pop() {
            return Some(moment);
        }
        let timer = self.timer.lock().await;
        let number = self.next.load(Ordering::Relaxed);
        let moment = self.moment(number)?;
        timer.wait(watch, moment).await;
        self.next.store(self.deal.after(number), Ordering::Relaxed);
        Some(moment)
    }

    /// Leaves a moment to whoever takes one next.
    pub(super) fn give_back(&self, moment: Duration) {
        self.given_back.lock().push(moment);
    }

    /// How long those moments have been over at `end` that nobody has taken.
    pub(super) fn never_taken(&self, end: Duration) -> impl Iterator<Item = Duration> {
        let given_back = self.given_back.lock().clone();
        let numbers = std::iter::successors(Some(self.next.load(Ordering::Relaxed)), |number| {
            Some(self.deal.after(*number))
        });
        let left = numbers.map_while(|number| self.moment(number));
        let over = left.take_while(move |moment| *moment < end);
        given_back.into_iter().chain(over).map(move |moment| end.saturating_sub(moment))
    }

    #[expect(clippy::cast_precision_loss, reason = "no run has so many requests")]
    fn moment(&self, number: u64) -> Option<Duration> {
        let moment = Duration::try_from_secs_f64(number as f64 / self.rate).ok()?;
        let is_left = match self.until {
            Until::Time(time) => moment < time,
            Until::Requests(requests) => number < requests,
        };
        is_left.then_some(moment)
    }
}

/// Waits for moments more exactly than the runtime's timer, which counts milliseconds.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(unsafe_code, reason = "the runtime's way to watch a file descriptor")]
        // SAFETY: an owned descriptor is the same, and open, until it is dropped.
        let watched = unsafe { AsyncFd::register(timer)? };
        Ok(Self(watched))
    }

    /// Waits until `watch` shows `moment`.
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
        // What it reads is how often the timer went off.
        let _ = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0_u8; 8])?));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Deal = Deal { thread: 0, threads: 1, connections: 1 };

    #[test]
    fn connections_and_moments_are_dealt_in_turn() {
        for (threads, connections) in [(1, 1), (2, 3), (3, 3), (4, 64), (3, 8)] {
            let deal = |thread| Deal { thread, threads, connections };
            let mine = (0..threads).map(|thread| deal(thread).connections());
            assert_eq!(mine.sum::<usize>(), connections);
            let mut all = Vec::new();
            for thread in 0..threads {
                let numbers = std::iter::successors(Some(thread as u64), |number| {
                    Some(deal(thread).after(*number))
                });
                let round = numbers.take_while(|number| *number < 10 * connections as u64);
                let before = all.len();
                all.extend(round);
                assert_eq!(all.len() - before, 10 * deal(thread).connections(), "its share");
            }
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..10 * connections as u64), "each once");
        }
    }

    #[tokio::test]
    async fn moments_come_when_they_are_due_and_end() {
        let watch = Stopwatch::start();
        let pace = Pace::new(2_000.0, Until::Requests(4), ALONE).expect("a pace");
        for expected in [0, 500, 1_000, 1_500] {
            let moment = pace.take(watch).await.expect("a moment");
            assert_eq!(moment, Duration::from_micros(expected));
            assert!(watch.elapsed() >= moment);
        }
        assert_eq!(pace.take(watch).await, None);
        pace.give_back(Duration::from_micros(500));
        assert_eq!(pace.take(watch).await, Some(Duration::from_micros(500)));
        let seldom = Pace::new(f64::MIN_POSITIVE, Until::Requests(2), ALONE).expect("a pace");
        assert_eq!(seldom.take(watch).await, Some(Duration::ZERO));
        assert_eq!(seldom.take(watch).await, None, "nobody lives so long");
    }

    #[tokio::test]
    async fn what_nobody_takes_is_told() {
        let watch = Stopwatch::start();
        let until = Until::Time(Duration::from_millis(50));
        let pace = Pace::new(100.0, until, ALONE).expect("a pace");
        let first = pace.take(watch).await.expect("a moment");
        let left = |end| {
            let waited = pace.never_taken(Duration::from_millis(end));
            waited.map(|waited| waited.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(left(45), [35, 25, 15, 5]);
        pace.give_back(first);
        assert_eq!(left(1_000), [1_000, 990, 980, 970, 960], "none after the run");
        // Whoever is free takes them, however late.
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(pace.take(watch).await, Some(first));
        assert_eq!(pace.take(watch).await, Some(Duration::from_millis(10)));
    }
}
