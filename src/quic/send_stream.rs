//! The side of a stream that sends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h3::{
    error::Code,
    quic::{self, StreamErrorIncoming, StreamId, WriteBuf},
};
use quinn::VarInt;

use super::error::{application_code, fault, number, of_write};

/// The side of a stream that sends. If it is dropped between two frames, quinn ends the stream as if the message were
/// complete.
pub(crate) struct SendStream {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
    has_begun: bool,
}

impl SendStream {
    pub(super) const fn new(stream: quinn::SendStream) -> Self {
        Self { stream, writing: None, has_begun: false }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.has_begun || self.writing.is_some() {
            // It may have ended already.
            let _ = self.stream.reset(application_code(Code::H3_REQUEST_CANCELLED));
        }
    }
}

impl quic::SendStream<Bytes> for SendStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = &mut self.writing {
            if !data.has_remaining() {
                self.writing = None;
                break;
            }
            let written = Pin::new(&mut self.stream).poll_write(cx, data.chunk());
            data.advance(ready!(written).map_err(of_write)?);
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.is_some() {
            return Err(fault("the last part is not sent yet".to_owned()));
        }
        self.has_begun = true;
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        let finished = self.stream.finish();
        Poll::Ready(finished.map_err(|error| StreamErrorIncoming::Unknown(Box::new(error))))
    }

    fn reset(&mut self, reset_code: u64) {
        // It may have ended already.
        let _ = self.stream.reset(number(reset_code));
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

/// An identifier as the HTTP/3 library takes it.
pub(super) fn id(id: quinn::StreamId) -> StreamId {
    let number = u64::from(VarInt::from(id));
    // Both are integers of QUIC.
    StreamId::try_from(number).unwrap_or_else(|_| unreachable!("an identifier of QUIC"))
}
