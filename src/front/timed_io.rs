//! A connection's bytes under three timeouts: no request, a slow head, a stalled answer.
//!
//! The timer is set when a wait begins and otherwise left alone: a busy connection costs one look
//! at the clock a wait, not one timer a request.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{Limits, connection::Http};
use crate::edge::Connection;

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
    phase: Phase,
    since: Instant,
    /// When bytes last went out.
    wrote: Instant,
    /// When the viewer last stopped taking bytes.
    stalled: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

struct Timeouts {
    header: Duration,
    idle: Duration,
    write: Duration,
}

impl<S> TimedIo<S> {
    pub(super) fn new(stream: S, http: Http, connection: Arc<Connection>, limits: &Limits) -> Self {
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
            phase: Phase::Idle,
            since: now,
            wrote: now,
            stalled: None,
            timer,
        }
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase != phase {
            self.phase = phase;
            self.since = Instant::now();
        }
    }

    fn has_read(&mut self, bytes: usize) {
        let busy = self.connection.in_flight.load(Ordering::Acquire) > 0;
        match self.http {
            _ if busy => self.enter(Phase::Busy),
            // HTTP/2 frames come without a request too; only a request ends idleness.
            Http::One if bytes > 0 => self.enter(Phase::Head),
            _ => {}
        }
    }

    /// Called whenever the connection has to wait: looks what for, and whether for too long.
    fn wait(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.connection.in_flight.load(Ordering::Acquire) > 0 {
            self.enter(Phase::Busy);
        } else if self.phase == Phase::Busy {
            self.enter(Phase::Idle);
        }
        let Some((deadline, what)) = self.deadline() else { return Ok(()) };
        if deadline < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            self.timer.as_mut().reset(deadline);
        }
        Ok(())
    }

    fn deadline(&self) -> Option<(Instant, &'static str)> {
        if let Some(stalled) = self.stalled {
            return Some((stalled + self.limits.write, "the viewer takes no bytes"));
        }
        match self.phase {
            // HTTP/2 holds bytes back until the viewer opens its window; no write is pending then.
            Phase::Busy if self.http == Http::Two && self.is_fed() => {
                Some((self.wrote + self.limits.write, "the viewer opens no window"))
            }
            Phase::Busy => None,
            Phase::Head => Some((self.since + self.limits.header, "the head came too slowly")),
            Phase::Idle => Some((self.since.max(self.wrote) + self.limits.idle, "no request came")),
        }
    }

    /// Whether no answer under way waits for us.
    fn is_fed(&self) -> bool {
        self.connection.starved.load(Ordering::Acquire) == 0
    }

    fn after_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            self.wrote = Instant::now();
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

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.after_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.after_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.after_write(cx, shut)
    }
}
