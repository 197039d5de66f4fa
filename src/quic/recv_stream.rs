//! The side of a stream that receives.

use std::{
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h3::{
    error::Code,
    quic::{self, StreamErrorIncoming, StreamId},
};

use super::{
    FrameFilter,
    error::{application_code, fault, number, of_read},
    send_stream::id,
};

/// The most bytes in one read.
const READ: usize = 16 << 10;

/// The side of a stream that receives.
pub(crate) struct RecvStream {
    stream: quinn::RecvStream,
    connection: quinn::Connection,
    frames: FrameFilter,
    /// Bytes that the filter has not seen yet.
    unread: Bytes,
    /// Whether the stream has ended otherwise than by its end.
    is_over: bool,
}

impl RecvStream {
    pub(super) const fn new(
        stream: quinn::RecvStream,
        connection: quinn::Connection,
        frames: FrameFilter,
    ) -> Self {
        Self { stream, connection, frames, unread: Bytes::new(), is_over: false }
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            match self.frames.next(&mut self.unread) {
                Ok(Some(piece)) => return Poll::Ready(Ok(Some(piece))),
                Ok(None) => {}
                Err(code) => return Poll::Ready(Err(self.close(code))),
            }
            // This future has no state of its own.
            let read = pin!(self.stream.read_chunk(READ, true)).poll(cx);
            match ready!(read).map_err(of_read)? {
                Some(chunk) => self.unread = chunk.bytes,
                None if self.frames.may_end() => return Poll::Ready(Ok(None)),
                // RFC 9114 §7.1.
                None => return Poll::Ready(Err(self.close(Code::H3_FRAME_ERROR))),
            }
        }
    }

    /// Closes the connection, because the peer violates the protocol.
    fn close(&self, code: Code) -> StreamErrorIncoming {
        self.connection.close(application_code(code), b"");
        fault(format!("the peer violates the protocol: {code}"))
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.stream.stop(application_code(Code::H3_NO_ERROR));
    }
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        if self.is_over {
            return Poll::Ready(Err(StreamErrorIncoming::Unknown("the stream is over".into())));
        }
        let read = self.poll_next(cx);
        self.is_over = matches!(read, Poll::Ready(Err(_)));
        read
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.is_over = true;
        // It may have ended already.
        let _ = self.stream.stop(number(error_code));
    }

    fn recv_id(&self) -> StreamId {
        id(self.stream.id())
    }
}
