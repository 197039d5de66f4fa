//! Enforces three timeouts on a connection: idle, slow request head, stalled response.
//!
//! The timer is set only when a wait begins: a busy connection reads the clock once per wait, and sets no timer
//! per request.

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

/// HTTP/2 writes of at least this many bytes include content.
const CONTENT: usize = 1024;

/// The event that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of a head.
    Head,
    /// The response is being produced or sent.
    Busy,
}

/// Enforces the timeouts on `stream`.
pub(super) struct TimedIo<S> {
    stream: S,
    connection: Arc<Connection>,
    http: Http,
    limits: Timeouts,
    pressure: ConnectionPressure,
    /// Exchanges that had begun when the first bytes of a head arrived.
    head_after: Option<u32>,
    /// The wait that `since` belongs to: its phase, the exchanges before it, and whether none of them is
    /// waiting for our bytes.
    waiting: (Phase, u32, bool),
    since: Instant,
    /// When bytes last went out.
    wrote: Instant,
    /// When the viewer last stopped taking bytes.
    stalled: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// The waker of the task that the timer wakes.
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

    /// The bytes read so far begin a connection that speaks HTTP/2.
    pub(super) const fn begin_http2(&mut self) {
        self.http = Http::Two;
        self.head_after = None;
    }

    fn begun(&self) -> u32 {
        self.connection.exchanges.begun()
    }

    fn has_read(&mut self, bytes: usize) {
        // HTTP/2 frames arrive without a request too; only a request ends idleness there.
        if self.http == Http::One && bytes > 0 {
            self.head_after = Some(self.begun());
        }
    }

    fn phase(&mut self, begun: u32) -> Phase {
        let busy = self.connection.exchanges.is_busy();
        // Once a head has become an exchange, the wait for it is over.
        self.head_after = self.head_after.filter(|after| !busy && *after == begun);
        match self.head_after {
            _ if busy => Phase::Busy,
            Some(_) => Phase::Head,
            None => Phase::Idle,
        }
    }

    /// Called whenever the connection has to wait: updates the phase and checks its deadline.
    /// A read that need not wait never reads the clock.
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

    /// The next time for the timer to check the connection. No deadline applies while a response is being produced, but
    /// afterwards hyper may not call here again: it already knows that there is nothing to read. Before a connection's
    /// first request, its deadline depends on the number of other connections.
    fn next_look(&self, from: Instant) -> Instant {
        let later = from + self.limits.header;
        match self.deadline() {
            None => later,
            Some((due, _)) if self.is_unused() => due.min(later),
            Some((due, _)) => due,
        }
    }

    /// Whether no request has arrived yet.
    const fn is_unused(&self) -> bool {
        matches!(self.waiting, (Phase::Idle, 0, _))
    }

    /// Polls the timer outside tokio's cooperative budget: a task that has used up its budget could not set the
    /// timer.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut tokio::task::unconstrained(self.timer.as_mut())).poll(cx)
    }

    /// Whether the timer is set early enough and wakes the current task.
    fn will_wake(&self, cx: &Context<'_>, deadline: Instant) -> bool {
        self.waker.will_wake(cx.waker())
            && !self.timer.is_elapsed()
            && self.timer.deadline() <= deadline
    }

    fn deadline(&self) -> Option<(Instant, &'static str)> {
        if let Some(stalled) = self.stalled {
            return Some((stalled + self.limits.write, "the viewer reads no data"));
        }
        match self.waiting.0 {
            // HTTP/2 holds bytes back until the viewer opens its window; no write is pending then.
            Phase::Busy if self.http == Http::Two && self.has_body() => Some((
                self.since.max(self.wrote) + self.limits.write,
                "the viewer keeps its HTTP/2 flow-control window closed",
            )),
            Phase::Busy => None,
            Phase::Head => {
                Some((self.since + self.limits.header, "the request head arrived too slowly"))
            }
            Phase::Idle => {
                let is_short = self.is_unused() && self.pressure.is_high();
                let limit = if is_short { self.limits.header } else { self.limits.idle };
                Some((self.since.max(self.wrote) + limit, "no request arrived"))
            }
        }
    }

    /// Whether no response in progress is waiting for our bytes.
    fn has_body(&self) -> bool {
        !self.connection.exchanges.is_awaiting_body()
    }

    /// Records when a write became pending, and fails if it has been pending too long.
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
