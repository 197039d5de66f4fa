//! The side of a stream that receives.

use std::{
    collections::VecDeque,
    mem::MaybeUninit,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h3::{
    error::Code,
    quic::{self, StreamErrorIncoming, StreamId},
};
use quinn::{ConnectionError, VarInt};
use tokio::io::ReadBuf;

use super::{
    FrameFilter,
    error::{application_code, of_read, of_stream},
    send_stream::id,
};

/// The most bytes in one read.
const READ: usize = 16 << 10;

/// The side of a stream that receives.
pub(crate) struct RecvStream {
    stream: quinn::RecvStream,
    connection: quinn::Connection,
    frames: FrameFilter,
    /// Filtered bytes that are not taken yet.
    filtered: VecDeque<Bytes>,
}

impl RecvStream {
    /// The stream of a request or a response.
    pub(super) const fn bidirectional(
        stream: quinn::RecvStream,
        connection: quinn::Connection,
    ) -> Self {
        Self { stream, connection, frames: FrameFilter::of_message(), filtered: VecDeque::new() }
    }

    /// A stream that begins with its type.
    pub(super) const fn unidirectional(
        stream: quinn::RecvStream,
        connection: quinn::Connection,
    ) -> Self {
        let frames = FrameFilter::of_unidirectional();
        Self { stream, connection, frames, filtered: VecDeque::new() }
    }

    /// Closes the connection, because the peer violates the protocol.
    fn close(&self, code: Code) -> StreamErrorIncoming {
        self.connection.close(application_code(code), b"");
        of_stream(ConnectionError::LocallyClosed)
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        // The rest is not read. The stream may have ended already.
        let _ = self.stream.stop(application_code(Code::H3_NO_ERROR));
    }
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            if let Some(bytes) = self.filtered.pop_front() {
                return Poll::Ready(Ok(Some(bytes)));
            }
            let mut room = [MaybeUninit::uninit(); READ];
            let mut read = ReadBuf::uninit(&mut room);
            ready!(self.stream.poll_read_buf(cx, &mut read)).map_err(of_read)?;
            if read.filled().is_empty() {
                return Poll::Ready(if self.frames.may_end() {
                    Ok(None)
                } else {
                    // RFC 9114 §7.1.
                    Err(self.close(Code::H3_FRAME_ERROR))
                });
            }
            if self.frames.filter(read.filled(), &mut self.filtered).is_err() {
                return Poll::Ready(Err(self.close(Code::H3_EXCESSIVE_LOAD)));
            }
        }
    }

    fn stop_sending(&mut self, error_code: u64) {
        // It may have ended already.
        let _ = self.stream.stop(VarInt::from_u64(error_code).unwrap_or(VarInt::MAX));
    }

    fn recv_id(&self) -> StreamId {
        id(self.stream.id())
    }
}
