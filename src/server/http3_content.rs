//! The content of a request over HTTP/3.

use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{FutureExt, stream::unfold};
use h3::{error::StreamError, server::RequestStream};
use http::{Method, Request, header};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    http::body::{Body, BodyError},
    quic,
};

/// The longest wait for unused content.
const PATIENCE: Duration = Duration::from_secs(10);

/// The stream of a request.
type Stream = RequestStream<quic::RecvStream, Bytes>;

/// Unused bytes that are read. After that, the stream is dropped, which stops the client.
const MAX_DISCARDED: u64 = 256 << 10;

/// The content of a request. It is read to its end even if it is not used: a stream that is dropped before its end stops
/// the client, and some clients treat that as an error.
pub(super) fn of(request: &Request<()>, mut stream: Stream) -> Body {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    // Most requests end with their head.
    let first = next(&mut stream).now_or_never();
    if let Some(Ok(None)) = first
        && length.unwrap_or_default() == 0
    {
        return Body::empty();
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(receive(stream, first, length, sender));
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_read && length.is_none() {
        return Body::empty();
    }
    let chunks = unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((chunk, receiver))
    });
    Body::stream(length, chunks)
}

/// The next bytes, or `None` at the end.
async fn next(stream: &mut Stream) -> Result<Option<Bytes>, StreamError> {
    let data = stream.recv_data().await?;
    Ok(data.map(|mut data| data.copy_to_bytes(data.remaining())))
}

/// Reads the content to its end, beginning with what was read already.
async fn receive(
    mut stream: Stream,
    mut first: Option<Result<Option<Bytes>, StreamError>>,
    length: Option<u64>,
    sender: mpsc::Sender<Result<Bytes, BodyError>>,
) {
    // A receiver that is gone needs no error.
    let fail = async |why| drop(sender.send(Err(BodyError::Aborted(why))).await);
    let (mut received, mut discarded) = (0_u64, 0);
    loop {
        let read = match first.take() {
            Some(read) => read,
            None if sender.is_closed() => match timeout(PATIENCE, next(&mut stream)).await {
                Ok(read) => read,
                Err(_) => return,
            },
            None => tokio::select! {
                read = next(&mut stream) => read,
                () = sender.closed() => continue,
            },
        };
        let chunk = match read {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(_) => return fail("the client reset the request").await,
        };
        let more = chunk.len() as u64;
        received += more;
        if length.is_some_and(|length| received > length) {
            return fail("its content is longer than its Content-Length").await;
        }
        if sender.send(Ok(chunk)).await.is_err() {
            discarded += more;
            if discarded > MAX_DISCARDED {
                return;
            }
        }
    }
    if length.is_some_and(|length| received < length) {
        fail("its content is shorter than its Content-Length").await;
    }
}
