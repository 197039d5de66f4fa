//! A connection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::unfold};
use h3::{
    error::Code,
    quic::{ConnectionErrorIncoming, OpenStreams, StreamErrorIncoming},
};
use quinn::ConnectionError;

use super::{BidiStream, FrameFilter, Opener, RecvStream, SendStream, error::of_connection};

/// The streams that the peer opens, one after the other.
type Accepted<T> = Pin<Box<dyn Stream<Item = Result<T, ConnectionError>> + Send>>;

/// A connection.
pub(crate) struct Connection {
    opener: Opener,
    bidirectional: Accepted<(quinn::SendStream, quinn::RecvStream)>,
    unidirectional: Accepted<quinn::RecvStream>,
}

impl Connection {
    pub(crate) fn new(connection: quinn::Connection) -> Self {
        let bidirectional = unfold(connection.clone(), |connection| async {
            Some((connection.accept_bi().await, connection))
        });
        let unidirectional = unfold(connection.clone(), |connection| async {
            Some((connection.accept_uni().await, connection))
        });
        Self {
            opener: Opener::new(connection),
            bidirectional: Box::pin(bidirectional),
            unidirectional: Box::pin(unidirectional),
        }
    }
}

/// The next stream. There is always one more, or an error.
fn poll_next<T>(
    accepted: &mut Accepted<T>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, ConnectionErrorIncoming>> {
    let next = ready!(accepted.poll_next_unpin(cx));
    Poll::Ready(next.unwrap_or(Err(ConnectionError::LocallyClosed)).map_err(of_connection))
}

impl h3::quic::Connection<Bytes> for Connection {
    type RecvStream = RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<RecvStream, ConnectionErrorIncoming>> {
        let stream = ready!(poll_next(&mut self.unidirectional, cx))?;
        let connection = self.opener.connection().clone();
        Poll::Ready(Ok(RecvStream::new(stream, connection, FrameFilter::of_unidirectional())))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BidiStream, ConnectionErrorIncoming>> {
        let streams = ready!(poll_next(&mut self.bidirectional, cx))?;
        let connection = self.opener.connection();
        Poll::Ready(Ok(BidiStream::new(streams, connection, FrameFilter::of_request())))
    }

    fn opener(&self) -> Opener {
        Opener::new(self.opener.connection().clone())
    }
}

impl OpenStreams<Bytes> for Connection {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}
