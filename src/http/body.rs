//! The body type of all messages to viewers and origins.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// The reason why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection that it is read from failed.
    #[error("the connection closed early")]
    Connection(#[from] hyper::Error),
    /// The promised bytes can no longer be delivered; the transfer is cut, never falsified.
    #[error("the transfer was aborted: {0}")]
    Aborted(&'static str),
}

impl From<Infallible> for BodyError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Watches a body on its way to a viewer.
pub trait Observer: Send {
    /// Called when the body starts or stops waiting for bytes.
    fn awaits_bytes(&mut self, awaits: bool);

    /// Called with the reason, as the log has it, if the end is not the viewer's or the origin's doing.
    fn cut(&mut self, _detail: &'static str) {}

    /// Called at the end: `sent` bytes were handed to the connection; `complete` is whether that was all.
    fn ended(self: Box<Self>, sent: u64, complete: bool);
}

enum Kind {
    Full(Option<Bytes>),
    Stream(Chunks),
    Incoming(Incoming),
}

/// A message body: empty, in one piece, a stream of known or unknown length, or one that is
/// being received.
pub struct Body {
    kind: Kind,
    /// Bytes that were read and then put back.
    unread: Option<Bytes>,
    /// Bytes left to send, if the length is known.
    left: Option<u64>,
    sent: u64,
    /// Length of the longest frame to yield.
    longest: usize,
    awaiting: bool,
    observer: Option<Box<dyn Observer>>,
}

impl Body {
    const fn new(kind: Kind, left: Option<u64>) -> Self {
        Self {
            kind,
            unread: None,
            left,
            sent: 0,
            longest: usize::MAX,
            awaiting: false,
            observer: None,
        }
    }

    /// No content.
    #[must_use]
    pub const fn empty() -> Self {
        Self::new(Kind::Full(None), Some(0))
    }

    /// All of `bytes`, in one frame.
    #[must_use]
    pub const fn full(bytes: Bytes) -> Self {
        let left = Some(bytes.len() as u64);
        Self::new(Kind::Full(Some(bytes)), left)
    }

    /// Chunks with a total of `length` bytes, if that is known.
    pub fn stream(
        length: Option<u64>,
        chunks: impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
    ) -> Self {
        Self::new(Kind::Stream(Box::pin(chunks)), length)
    }

    /// A body that is being received.
    #[must_use]
    pub fn incoming(incoming: Incoming) -> Self {
        let left = http_body::Body::size_hint(&incoming).exact();
        Self::new(Kind::Incoming(incoming), left)
    }

    /// Yields frames of at most `longest` bytes.
    #[must_use]
    pub const fn in_frames(mut self, longest: usize) -> Self {
        self.longest = longest;
        self
    }

    /// Whether the whole body is available, in one piece.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::Full(_))
    }

    /// Notifies `observer` when the body ends or is dropped.
    #[must_use]
    pub fn observed(mut self, observer: Box<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Puts back the end of a frame; the next read returns it first.
    pub fn unread(&mut self, bytes: Bytes) {
        let length = bytes.len() as u64;
        self.sent -= length;
        self.left = self.left.map(|left| left + length);
        self.unread = Some(bytes);
    }

    fn poll_kind(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(bytes) = self.unread.take() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        match &mut self.kind {
            Kind::Full(bytes) => {
                Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok))
            }
            Kind::Stream(chunks) => chunks.as_mut().poll_next(cx),
            Kind::Incoming(incoming) => loop {
                let frame = http_body::Body::poll_frame(Pin::new(&mut *incoming), cx);
                match std::task::ready!(frame) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => return Poll::Ready(Some(Ok(data))),
                        // RFC 9110 §6.5.1: trailers may be discarded.
                        Err(_trailers) => {}
                    },
                    Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    None => return Poll::Ready(None),
                }
            },
        }
    }

    fn note_awaiting(&mut self, awaiting: bool) {
        if self.awaiting != awaiting {
            self.awaiting = awaiting;
            if let Some(observer) = &mut self.observer {
                observer.awaits_bytes(awaiting);
            }
        }
    }

    fn end(&mut self, complete: bool) {
        if let Some(observer) = self.observer.take() {
            observer.ended(self.sent, complete);
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("left", &self.left).finish_non_exhaustive()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = this.poll_kind(cx);
        this.note_awaiting(polled.is_pending());
        let polled = std::task::ready!(polled);
        match polled {
            Some(Ok(mut data)) => {
                if data.len() > this.longest {
                    this.unread = Some(data.split_off(this.longest));
                }
                let length = data.len() as u64;
                this.sent += length;
                this.left = this.left.map(|left| left.saturating_sub(length));
                if this.left == Some(0) {
                    // hyper does not poll a body of known length again after its last byte
                    this.end(true);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => {
                this.end(false);
                Poll::Ready(Some(Err(error)))
            }
            None => {
                this.end(this.left.is_none_or(|left| left == 0));
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let complete = self.left == Some(0);
        self.end(complete);
    }
}
