//! The fast path of a hit: from the bytes of its head to the bytes of its answer, beneath hyper.
//!
//! Only a read that is one whole head and nothing else is looked at, and only while nothing of the
//! library's is under way: so there is never a question whose bytes are whose. Whatever is no hit in
//! memory goes on to the library as it came, and once there was anything but such a head, all of the
//! connection is the library's.

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

/// Who takes the next head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It is looked at here first.
    Here,
    /// The library, which has a request that came after so many exchanges.
    Library { begun: u32 },
    /// The library, to the end of the connection.
    LibraryForGood,
}

/// Answers hits on `stream` and lets everything else pass.
pub(super) struct FastPathIo<S, H: Handler> {
    stream: S,
    handler: H,
    connection: Arc<Connection>,
    closing: Closing,
    hand_over: HandOver<H::Decided>,
    turn: Turn,
    last_head: LastHead,
    /// What the viewer has not taken yet. Nothing passes before it has.
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

    /// Takes a read at its turn: the answer to it, where there is one at once.
    fn take(&mut self, read: &[u8]) -> Option<Sending> {
        // The last answer says `Connection: close`, which is the library's to keep.
        if self.turn != Turn::Here || self.closing.is_set() {
            // More than the request that the library has: its bytes are not told apart any more.
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

    /// All that the library had written is out. Where that was the answer to the one head it was
    /// given, nothing of it is left there.
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

/// An answer on its way.
struct Sending {
    head: Vec<u8>,
    answer: FastHit,
    /// Of head and content together.
    sent: usize,
}

thread_local! {
    /// Memory for the next head: most are gone when it comes.
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

    /// Writes what is left, and flushes it.
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
