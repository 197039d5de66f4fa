//! The fast path for hits: reads a request head and writes the response, without hyper.
//!
//! It answers a read only if the read is exactly one whole head of a hit. Everything else goes to hyper unchanged.
//! Between requests, a connection has no buffers: all connections of a worker read into the same one.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Closing, Handler, h1_head};
use crate::proxy::{Connection, FastHit};

/// The most bytes in one read, which is also the most in a TLS record (RFC 8446 §5.1).
const READ: usize = 16 << 10;

thread_local! {
    /// The worker's buffer for reads.
    static READ_BUFFER: Cell<Vec<u8>> = Cell::default();
}

/// Bytes to pass to hyper.
pub(super) struct HandedOver<D> {
    pub(super) bytes: Bytes,
    /// Whether the bytes are exactly one whole head of a request without content.
    pub(super) is_whole: bool,
    /// The decision about the request, if the fast path made one.
    pub(super) decided: Option<D>,
}

/// The result of a read: a response to send, or bytes for hyper.
type Taken<D> = Result<Sending, HandedOver<D>>;

/// Answers the hits of one connection.
pub(super) struct FastPath<S, H> {
    pub(super) stream: S,
    /// Bytes to process before reading the stream again.
    unread: Bytes,
    handler: H,
    connection: Arc<Connection>,
    closing: Closing,
    /// The response that the viewer has not fully received. Nothing is read until it is sent.
    sending: Option<Box<Sending>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> FastPath<S, H> {
    pub(super) const fn new(
        stream: S,
        handler: H,
        connection: Arc<Connection>,
        closing: Closing,
    ) -> Self {
        Self { stream, unread: Bytes::new(), handler, connection, closing, sending: None }
    }

    /// Takes back bytes that hyper has read but not used.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }

    /// The stream, and what was read of it but not processed.
    pub(super) fn into_stream(self) -> (S, Bytes) {
        (self.stream, self.unread)
    }

    pub(super) const fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Sends the rest of a response.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(sending) = &mut self.sending {
            ready!(sending.poll(&mut self.stream, cx))?;
            self.sending = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Answers hits until bytes are for hyper; `None` at the end of the stream.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<HandedOver<H::Decided>>>> {
        loop {
            ready!(self.poll_sent(cx))?;
            let taken = if self.unread.is_empty() {
                match ready!(self.poll_read(cx))? {
                    None => return Poll::Ready(Ok(None)),
                    Some(taken) => taken,
                }
            } else {
                let unread = std::mem::take(&mut self.unread);
                self.take(&unread)
            };
            let mut sending = match taken {
                Ok(sending) => sending,
                Err(handed_over) => return Poll::Ready(Ok(Some(handed_over))),
            };
            if sending.poll(&mut self.stream, cx)?.is_pending() {
                self.sending = Some(Box::new(sending));
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Taken<H::Decided>>>> {
        let mut room = READ_BUFFER.take();
        room.reserve_exact(READ);
        let mut buffer = ReadBuf::uninit(room.spare_capacity_mut());
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let taken = match read {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Ok(None)),
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Some(self.take(buffer.filled())))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        READ_BUFFER.set(room);
        taken
    }

    /// Answers the bytes, or returns them for hyper.
    fn take(&self, read: &[u8]) -> Taken<H::Decided> {
        let (mut is_whole, mut decided) = (false, None);
        // The last response carries `Connection: close`, which hyper handles.
        if !self.closing.is_set()
            && let Some(request) = h1_head::request(read)
        {
            let mut head = Sending::room();
            match self.handler.answer_fast(request, &self.connection, &mut head) {
                Ok(answer) => return Ok(Sending { head, answer, sent: 0 }),
                Err(other) => {
                    Sending::give_back(head);
                    (is_whole, decided) = (true, other);
                }
            }
        }
        Err(HandedOver { bytes: Bytes::copy_from_slice(read), is_whole, decided })
    }
}

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
