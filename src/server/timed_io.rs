//! A connection's bytes under three timeouts: no request, a slow head, a stalled answer.
//!
//! The timer is set when a wait begins and otherwise left alone: a busy connection costs one look
//! at the clock a wait, not one timer a request.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{ConnectionPressure, Limits, protocol::Http};
use crate::{
    base::write_layer::{WriteLayer, impl_async_write},
    proxy::Connection,
};

/// So many bytes at once are content, in HTTP/2.
const CONTENT: usize = 1024;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of a head.
    Head,
    /// An answer is being made or sent.
    Busy,
}

/// Times the waits of `stream`.
pub(super) struct TimedIo<S> {
    stream: S,
    connection: Arc<Connection>,
    http: Http,
    limits: Timeouts,
    pressure: ConnectionPressure,
    /// How many exchanges had begun when the first bytes of a head came.
    head_after: Option<u32>,
    /// The wait that `since` belongs to: what for, after how many exchanges, and whether none of them
    /// waits for us.
    waiting: (Phase, u32, bool),
    since: Instant,
    /// When bytes last went out.
    wrote: Instant,
    /// When the viewer last stopped taking bytes.
    stalled: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// Whom the timer wakes.
    waker: Waker,
}

struct Timeouts {
    header: Duration,
    idle: Duration,
    write: Duration,
}

impl<S> TimedIo<S> {
    pub(super) fn new(
        stream: S,
        http: Http,
        connection: Arc<Connection>,
        limits: &Limits,
        pressure: ConnectionPressure,
    ) -> Self {
        let timeouts = Timeouts {
            header: limits.header_timeout,
            idle: limits.idle_timeout,
            write: limits.write_timeout,
        };
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now + timeouts.header));
        Self {
            stream,
            connection,
            http,
            limits: timeouts,
            pressure,
            head_after: None,
            waiting: (Phase::Idle, 0, true),
            since: now,
            wrote: now,
            stalled: None,
            timer,
            waker: Waker::noop().clone(),
        }
    }

    fn begun(&self) -> u32 {
        self.connection.exchanges.begun()
    }

    fn has_read(&mut self, bytes: usize) {
        // HTTP/2 frames come without a request too; only a request ends idleness there.
        if self.http == Http::One && bytes > 0 {
            self.head_after = Some(self.begun());
        }
    }

    fn phase(&mut self, begun: u32) -> Phase {
        let busy = self.connection.exchanges.is_busy();
        // A head that became an exchange is no longer waited for.
        self.head_after = self.head_after.filter(|after| !busy && *after == begun);
        match self.head_after {
            _ if busy => Phase::Busy,
            Some(_) => Phase::Head,
            None => Phase::Idle,
        }
    }

    /// Called whenever the connection has to wait: looks what for, and whether for too long.
    /// Only here the clock is read.
    fn wait(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let begun = self.begun();
        let waiting = (self.phase(begun), begun, self.has_body());
        if self.waiting != waiting {
            self.waiting = waiting;
            self.since = Instant::now();
        }
        let wake = self.next_look(self.since);
        if self.will_wake(cx, wake) {
            return Ok(());
        }
        self.waker.clone_from(cx.waker());
        if wake < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(wake);
        }
        while self.poll_timer(cx).is_ready() {
            let now = Instant::now();
            match self.deadline() {
                Some((due, what)) if now >= due => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, what));
                }
                Some(_) => {}
                None => self.since = now,
            }
            let wake = self.next_look(now);
            self.timer.as_mut().reset(wake);
        }
        Ok(())
    }

    /// When the timer looks at the connection next. While an answer is being made nothing is due, but when it
    /// is done hyper may not call here again: it knows already that there is nothing to read. And while a
    /// connection has had no request, its deadline depends on how many others there are.
    fn next_look(&self, from: Instant) -> Instant {
        let later = from + self.limits.header;
        match self.deadline() {
            None => later,
            Some((due, _)) if self.is_unused() => due.min(later),
            Some((due, _)) => due,
        }
    }

    /// Whether no request has come yet.
    const fn is_unused(&self) -> bool {
        matches!(self.waiting, (Phase::Idle, 0, _))
    }

    /// Where the task has used up what it may do at once, its timer would not be set: so it is polled
    /// besides.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut tokio::task::unconstrained(self.timer.as_mut())).poll(cx)
    }

    /// Whether the timer is set, not later than needed, and wakes the task that asks.
    fn will_wake(&self, cx: &Context<'_>, deadline: Instant) -> bool {
        self.waker.will_wake(cx.waker())
            && !self.timer.is_elapsed()
            && self.timer.deadline() <= deadline
    }

    fn deadline(&self) -> Option<(Instant, &'static str)> {
        if let Some(stalled) = self.stalled {
            return Some((stalled + self.limits.write, "the viewer takes no bytes"));
        }
        match self.waiting.0 {
            // HTTP/2 holds bytes back until the viewer opens its window; no write is pending then.
            Phase::Busy if self.http == Http::Two && self.has_body() => {
                Some((self.since.max(self.wrote) + self.limits.write, "the viewer opens no window"))
            }
            Phase::Busy => None,
            Phase::Head => Some((self.since + self.limits.header, "the head came too slowly")),
            Phase::Idle => {
                let is_short = self.is_unused() && self.pressure.is_high();
                let limit = if is_short { self.limits.header } else { self.limits.idle };
                Some((self.since.max(self.wrote) + limit, "no request came"))
            }
        }
    }

    /// Whether no response in progress waits for bytes of ours.
    fn has_body(&self) -> bool {
        !self.connection.exchanges.is_awaiting_body()
    }

    /// Notes since when a write is pending, and fails if that is too long.
    fn check_progress<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stalled.take().is_some() {
                self.wrote = Instant::now();
            }
            return written;
        }
        self.stalled.get_or_insert_with(Instant::now);
        match self.wait(cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                this.has_read(buffer.filled().len() - before);
                Poll::Ready(result)
            }
            Poll::Pending => match this.wait(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> WriteLayer for TimedIo<S> {
    fn after_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        // HTTP/2 flushes at every turn. Only bytes sent show that the viewer reads, and only if they are more than
        // the responses to its PINGs and SETTINGS.
        if self.http == Http::Two && matches!(written, Poll::Ready(Ok(CONTENT..))) {
            self.wrote = Instant::now();
        }
        self.check_progress(cx, written)
    }

    fn after_flush(
        &mut self,
        cx: &mut Context<'_>,
        flushed: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        self.check_progress(cx, flushed)
    }

    fn after_shutdown(
        &mut self,
        cx: &mut Context<'_>,
        shut: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        self.check_progress(cx, shut)
    }
}

impl_async_write!([S: AsyncWrite + Unpin] TimedIo<S>, stream);
