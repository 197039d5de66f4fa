//! The content of a request over HTTP/3.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::{Buf, Bytes};
use futures_util::{FutureExt, stream::unfold};
use h3::{error::StreamError, quic::RecvStream, server::RequestStream};
use http::{Method, Request, header};
use tokio::sync::mpsc;

use crate::http::body::{Body, BodyError};

/// Unused bytes that are read. After that, the stream is dropped, which sends STOP_SENDING.
const MAX_DISCARDED: u64 = 256 << 10;

/// The content of a request. It is read to its end even if it is not used: quinn sends STOP_SENDING for a stream that is
/// dropped before its end, and clients treat that as an error. `counted` counts the bytes.
pub(super) fn of<S>(
    request: &Request<()>,
    mut stream: RequestStream<S, Bytes>,
    counted: &Arc<AtomicU64>,
) -> Body
where
    S: RecvStream + Send + 'static,
{
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
    tokio::spawn(receive(stream, first, length, sender, Arc::clone(counted)));
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
async fn next<S: RecvStream>(
    stream: &mut RequestStream<S, Bytes>,
) -> Result<Option<Bytes>, StreamError> {
    let data = stream.recv_data().await?;
    Ok(data.map(|mut data| data.copy_to_bytes(data.remaining())))
}

/// Reads the content to its end, beginning with what was read already. To stop a client, it drops the stream: the
/// library's `stop_sending` panics while a read is pending.
async fn receive<S: RecvStream>(
    mut stream: RequestStream<S, Bytes>,
    mut first: Option<Result<Option<Bytes>, StreamError>>,
    length: Option<u64>,
    sender: mpsc::Sender<Result<Bytes, BodyError>>,
    counted: Arc<AtomicU64>,
) {
    // A receiver that is gone needs no error.
    let fail = async |why| drop(sender.send(Err(BodyError::Aborted(why))).await);
    let (mut received, mut discarded) = (0_u64, 0);
    loop {
        let read = match first.take() {
            Some(read) => read,
            None => next(&mut stream).await,
        };
        let chunk = match read {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(_) => return fail("the client reset the request").await,
        };
        let more = chunk.len() as u64;
        received += more;
        counted.fetch_add(more, Ordering::Relaxed);
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
