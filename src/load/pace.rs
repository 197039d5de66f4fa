//! When requests are due, where they come at a constant rate.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::{
    fd::OwnedFd,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec},
};
use tokio::io::unix::AsyncFd;

use crate::clock::Stopwatch;

/// Moments at even distances, each for one request.
pub(super) struct Pace {
    rate: f64,
    next: AtomicU64,
}

impl Pace {
    /// `rate` moments a second.
    pub(super) const fn new(rate: f64) -> Self {
        Self { rate, next: AtomicU64::new(0) }
    }

    /// Takes the next moment. It may be over: then a request should have been sent already.
    #[expect(clippy::cast_precision_loss, reason = "no run has so many requests")]
    pub(super) fn take(&self) -> Duration {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Duration::try_from_secs_f64(number as f64 / self.rate).unwrap_or(Duration::MAX)
    }
}

/// Waits for moments more exactly than the runtime's timer, which counts milliseconds.
pub(super) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(unsafe_code, reason = "the runtime's way to watch a file descriptor")]
        // SAFETY: an owned descriptor is the same, and open, until it is dropped.
        let watched = unsafe { AsyncFd::register(timer)? };
        Ok(Self(watched))
    }

    /// Waits until `watch` shows `moment`.
    pub(super) async fn wait(&self, watch: Stopwatch, moment: Duration) -> io::Result<()> {
        loop {
            let left = moment.saturating_sub(watch.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            self.set(left)?;
            let mut ready = self.0.readable().await?;
            // What it reads is how often the timer went off.
            let _ = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0_u8; 8])?));
        }
    }

    fn set(&self, left: Duration) -> io::Result<()> {
        let time = |duration: Duration| Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: duration.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: time(Duration::ZERO), it_value: time(left) };
        rustix::time::timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_at_even_distances() {
        let pace = Pace::new(250.0);
        let moments: Vec<_> = (0..4).map(|_| pace.take()).collect();
        assert_eq!(moments, [0, 4, 8, 12].map(Duration::from_millis));
        let seldom = Pace::new(f64::MIN_POSITIVE);
        assert_eq!([seldom.take(), seldom.take()], [Duration::ZERO, Duration::MAX]);
    }

    #[tokio::test]
    async fn nobody_goes_before_the_moment() {
        let (timer, watch) = (Timer::new().expect("a timer"), Stopwatch::start());
        for moment in [0, 300, 200, 2_500] {
            let moment = Duration::from_micros(moment);
            timer.wait(watch, moment).await.expect("waited");
            assert!(watch.elapsed() >= moment);
        }
    }
}
