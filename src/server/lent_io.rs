//! The stream of a connection while hyper has it on loan.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Handler,
    fast_path::{FastPath, HandedOver},
    loan::Loan,
};
use crate::{
    base::write_layer::{WriteLayer, impl_async_write},
    proxy::Connection,
};

/// Who handles the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The fast path: hyper has no unprocessed bytes.
    FastPath,
    /// hyper, which was given exactly one whole head after `begun` exchanges.
    Hyper { begun: u32 },
    /// hyper, until the loan ends: it may hold part of another request.
    HyperOnly,
}

/// A stream that hyper reads. While hyper has no unprocessed bytes, the fast path still sees each request first.
pub(super) struct LentIo<S, H: Handler> {
    fast_path: FastPath<S, H>,
    turn: Turn,
    /// What hyper reads next.
    handed_over: Bytes,
    /// The rest of an interim response that is being sent.
    interim: Bytes,
    loan: Loan<H::Decided>,
    connection: Arc<Connection>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> LentIo<S, H> {
    pub(super) fn new(
        fast_path: FastPath<S, H>,
        handed_over: HandedOver<H::Decided>,
        loan: Loan<H::Decided>,
        connection: Arc<Connection>,
    ) -> Self {
        let (turn, nothing) = (Turn::FastPath, Bytes::new());
        let interim = Bytes::new();
        let mut lent = Self { fast_path, turn, handed_over: nothing, interim, loan, connection };
        lent.hand_over(handed_over);
        lent
    }

    /// Ends HTTP on the stream. Returns it with all that was read of it, where `unused` are the bytes that hyper has read
    /// but not used.
    pub(super) fn into_stream(self, unused: &[u8]) -> (S, Bytes) {
        let (stream, unread) = self.fast_path.into_stream();
        (stream, [unused, &self.handed_over, &unread].concat().into())
    }

    /// Ends the loan. `unused` are bytes that hyper has read but not used.
    pub(super) fn into_fast_path(mut self, unused: &[u8]) -> FastPath<S, H> {
        // A copy, because hyper's bytes are a part of its whole buffer.
        self.fast_path.unread([unused, &self.handed_over].concat().into());
        self.fast_path
    }

    fn hand_over(&mut self, handed_over: HandedOver<H::Decided>) {
        let begun = self.connection.exchanges.begun();
        self.turn = if handed_over.is_whole { Turn::Hyper { begun } } else { Turn::HyperOnly };
        self.loan.begin(handed_over.decided, begun);
        self.handed_over = handed_over.bytes;
    }

    /// Sends interim responses, once everything that hyper has written is flushed. `Interim::close` ensures that none is
    /// left once a response has begun.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.interim.register(cx.waker());
        if self.interim.is_empty()
            && self.loan.is_flushed()
            && let Some(text) = self.connection.interim.take()
        {
            self.interim = text;
        }
        while !self.interim.is_empty() {
            let stream = Pin::new(&mut self.fast_path.stream);
            match ready!(stream.poll_write(cx, &self.interim))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.interim.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read_stream(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.handed_over.is_empty() {
            if self.turn != Turn::FastPath {
                ready!(Pin::new(&mut self.fast_path.stream).poll_read(cx, buffer))?;
                self.turn = Turn::HyperOnly;
                return Poll::Ready(Ok(()));
            }
            match ready!(self.fast_path.poll_next(cx))? {
                Some(handed_over) => self.hand_over(handed_over),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.handed_over.len().min(buffer.remaining());
        buffer.put_slice(&self.handed_over[..length]);
        self.handed_over.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> AsyncRead for LentIo<S, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.poll_read_stream(cx, buffer))?;
        let exchanges = &self.connection.exchanges;
        // Bytes of a head arrive while no exchange is in progress.
        if !exchanges.is_busy() {
            self.loan.keep_head(&buffer.filled()[before..], exchanges.begun());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> WriteLayer for LentIo<S, H> {
    fn before(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.fast_path.poll_sent(cx))?;
        ready!(self.poll_interim(cx))?;
        self.loan.set_flushed(false);
        Poll::Ready(Ok(()))
    }

    fn after_write(
        &mut self,
        _cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        // Anything still waiting would arrive after its own response.
        drop(self.connection.interim.take());
        written
    }

    fn after_flush(
        &mut self,
        _cx: &mut Context<'_>,
        flushed: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        let is_flushed = matches!(flushed, Poll::Ready(Ok(())));
        self.loan.set_flushed(is_flushed);
        if let Turn::Hyper { begun } = self.turn {
            let exchanges = &self.connection.exchanges;
            let is_answered = exchanges.begun() == begun.wrapping_add(1) && !exchanges.is_busy();
            if is_flushed && is_answered {
                self.turn = Turn::FastPath;
            }
        }
        flushed
    }
}

impl_async_write!([S: AsyncRead + AsyncWrite + Unpin, H: Handler] LentIo<S, H>, fast_path.stream);
