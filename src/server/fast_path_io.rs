//! The fast path for hits: reads the request head and writes the response below hyper.
//!
//! It handles a read only if the read is exactly one whole head and hyper has no exchange in progress. So each
//! byte clearly belongs to one side. A request that is no memory hit goes to hyper unchanged. After a read that
//! is anything but one such head, hyper keeps the connection.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Closing, Handler, h1_head::Read, hand_over::HandOver, last_head::LastHead};
use crate::{
    base::write_layer::{WriteLayer, impl_async_write},
    proxy::{Connection, FastHit},
};

/// The side that handles the next head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The fast path looks at it first.
    Here,
    /// Hyper, which has a request that followed `begun` exchanges.
    Library { begun: u32 },
    /// Hyper, until the connection ends.
    LibraryForGood,
}

/// Answers hits on `stream` and passes everything else on.
pub(super) struct FastPathIo<S, H: Handler> {
    stream: S,
    handler: H,
    connection: Arc<Connection>,
    closing: Closing,
    hand_over: HandOver<H::Decided>,
    turn: Turn,
    last_head: LastHead,
    /// The response that the viewer has not fully received. Nothing else passes until it is sent.
    sending: Option<Box<Sending>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> FastPathIo<S, H> {
    pub(super) const fn new(
        stream: S,
        handler: H,
        connection: Arc<Connection>,
        closing: Closing,
        hand_over: HandOver<H::Decided>,
        last_head: LastHead,
    ) -> Self {
        let turn = Turn::Here;
        let sending = None;
        Self { stream, handler, connection, closing, hand_over, turn, last_head, sending }
    }

    /// Keeps a read that goes to hyper between two exchanges.
    fn keep(&self, read: &[u8]) {
        let exchanges = &self.connection.exchanges;
        if self.turn == Turn::LibraryForGood && !exchanges.is_busy() {
            self.last_head.keep(read, exchanges.begun());
        }
    }

    /// Handles a read, and returns the response if the fast path has one.
    fn take(&mut self, read: &[u8]) -> Option<Sending> {
        // The last response carries `Connection: close`, which hyper handles.
        if self.turn != Turn::Here || self.closing.is_set() {
            // Hyper gets more than its one request, so bytes can no longer be attributed.
            self.turn = Turn::LibraryForGood;
            return None;
        }
        let library = Turn::Library { begun: self.connection.exchanges.begun() };
        self.turn = match Read::of(read) {
            Read::Request(request) => {
                let mut head = Sending::room();
                let answer = self.handler.answer_fast(request, &self.connection, &mut head);
                match answer {
                    Ok(answer) => return Some(Sending { head, answer, sent: 0 }),
                    Err(decided) => {
                        Sending::give_back(head);
                        self.hand_over.set(decided);
                    }
                }
                library
            }
            Read::Whole => library,
            Read::Other => Turn::LibraryForGood,
        };
        None
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(sending) = &mut self.sending {
            ready!(sending.poll(&mut self.stream, cx))?;
            self.sending = None;
        }
        Poll::Ready(Ok(()))
    }

    /// All that hyper wrote is sent. If that was the response to the one head it was given, it holds nothing
    /// more.
    fn has_flushed(&mut self) {
        let Turn::Library { begun } = self.turn else { return };
        let exchanges = &self.connection.exchanges;
        let is_answered = exchanges.begun() == begun.wrapping_add(1) && !exchanges.is_busy();
        if is_answered {
            self.turn = Turn::Here;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> AsyncRead for FastPathIo<S, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            ready!(this.poll_sent(cx))?;
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let read = &buffer.filled()[before..];
            if read.is_empty() || this.turn == Turn::LibraryForGood {
                this.keep(read);
                return Poll::Ready(Ok(()));
            }
            let Some(mut sending) = this.take(read) else {
                this.keep(read);
                return Poll::Ready(Ok(()));
            };
            buffer.set_filled(before);
            if sending.poll(&mut this.stream, cx)?.is_pending() {
                this.sending = Some(Box::new(sending));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> WriteLayer for FastPathIo<S, H> {
    fn before(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(cx)
    }

    fn after_flush(
        &mut self,
        _cx: &mut Context<'_>,
        flushed: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.has_flushed();
        }
        flushed
    }
}

impl_async_write!([S: AsyncRead + AsyncWrite + Unpin, H: Handler] FastPathIo<S, H>, stream);

/// A response being sent.
struct Sending {
    head: Vec<u8>,
    answer: FastHit,
    /// Bytes sent of head and content together.
    sent: usize,
}

thread_local! {
    /// A reusable buffer for the next head: most heads are sent before the next one arrives.
    static ROOM: Cell<Vec<u8>> = Cell::default();
}

impl Sending {
    fn room() -> Vec<u8> {
        ROOM.take()
    }

    fn give_back(mut head: Vec<u8>) {
        head.clear();
        ROOM.set(head);
    }

    /// Writes the rest and flushes it.
    fn poll(
        &mut self,
        mut stream: impl AsyncWrite + Unpin,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let head = &self.head[self.sent.min(self.head.len())..];
            let content = &self.answer.content()[self.sent.saturating_sub(self.head.len())..];
            let slices = [IoSlice::new(head), IoSlice::new(content)];
            let from = usize::from(head.is_empty());
            if head.len() + content.len() == 0 {
                return Pin::new(&mut stream).poll_flush(cx);
            }
            let written = ready!(Pin::new(&mut stream).poll_write_vectored(cx, &slices[from..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
            self.answer.has_sent(self.sent.saturating_sub(self.head.len()));
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        Self::give_back(std::mem::take(&mut self.head));
    }
}
