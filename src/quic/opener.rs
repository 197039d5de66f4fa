//! Opens the streams of a connection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h3::{
    error::Code,
    quic::{OpenStreams, StreamErrorIncoming},
};
use quinn::ConnectionError;

use super::{
    BidiStream, FrameFilter, SendStream,
    error::{application_code, of_stream},
};

/// A stream that is being opened, which may have to wait until the peer allows one more.
type Opening<T> = Option<Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send + Sync>>>;

/// Opens the streams of a connection.
pub(crate) struct Opener {
    connection: quinn::Connection,
    bidirectional: Opening<(quinn::SendStream, quinn::RecvStream)>,
    unidirectional: Opening<quinn::SendStream>,
}

impl Opener {
    pub(super) const fn new(connection: quinn::Connection) -> Self {
        Self { connection, bidirectional: None, unidirectional: None }
    }

    pub(super) const fn connection(&self) -> &quinn::Connection {
        &self.connection
    }
}

/// Opens a stream with `open`, unless one is being opened.
fn poll_opened<T>(
    opening: &mut Opening<T>,
    open: impl Future<Output = Result<T, ConnectionError>> + Send + Sync + 'static,
    cx: &mut Context<'_>,
) -> Poll<Result<T, StreamErrorIncoming>> {
    let opened = ready!(opening.get_or_insert_with(|| Box::pin(open)).as_mut().poll(cx));
    *opening = None;
    Poll::Ready(opened.map_err(of_stream))
}

impl Clone for Opener {
    fn clone(&self) -> Self {
        Self::new(self.connection.clone())
    }
}

impl OpenStreams<Bytes> for Opener {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        let connection = self.connection.clone();
        let open = async move { connection.open_bi().await };
        let streams = ready!(poll_opened(&mut self.bidirectional, open, cx))?;
        Poll::Ready(Ok(BidiStream::new(streams, &self.connection, FrameFilter::of_response())))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        let connection = self.connection.clone();
        let open = async move { connection.open_uni().await };
        let stream = ready!(poll_opened(&mut self.unidirectional, open, cx))?;
        Poll::Ready(Ok(SendStream::new(stream)))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(application_code(code), reason);
    }
}
