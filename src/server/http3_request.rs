//! One request over HTTP/3 and its response.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use h3::{
    error::Code,
    server::{RequestResolver, RequestStream},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body::Body as _;
use tokio::time::timeout;

use super::{Handler, http3_content};
use crate::{
    base::clock::Clock,
    http::{body::Body, date},
    proxy::Connection,
    quic,
};

/// Fields that concern one connection. HTTP/3 has none of them (RFC 9114 §4.2).
const OF_CONNECTION: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Answers one request.
pub(super) struct Http3Request<H> {
    pub(super) handler: H,
    pub(super) connection: Arc<Connection>,
    /// Longest time until the head has arrived.
    pub(super) header_timeout: Duration,
    /// Longest time in which the client reads nothing.
    pub(super) write_timeout: Duration,
}

impl<H: Handler> Http3Request<H> {
    /// Returns whether there was a head. The library or its transport resets a stream whose head is late or invalid.
    pub(super) async fn answer(self, resolver: RequestResolver<quic::Connection, Bytes>) -> bool {
        let Ok(Ok((request, stream))) =
            timeout(self.header_timeout, resolver.resolve_request()).await
        else {
            return false;
        };
        let (sending, receiving) = stream.split();
        let mut response = Guarded(Some(sending));
        if !is_valid(request.headers()) {
            if let Some(mut sending) = response.0.take() {
                sending.stop_stream(Code::H3_MESSAGE_ERROR);
            }
            return true;
        }
        let body = http3_content::of(&request, receiving);
        let answer = self.handler.handle(request.map(|()| body), None, &self.connection).await;
        if let Some(stream) = &mut response.0
            && send(stream, answer, self.write_timeout).await.is_ok()
        {
            response.0 = None;
        }
        true
    }
}

/// A response that is being sent. Unless it ended well, its stream is reset: quinn ends a stream that is dropped as if it
/// were complete.
struct Guarded(Option<RequestStream<quic::SendStream, Bytes>>);

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.0 {
            stream.stop_stream(Code::H3_INTERNAL_ERROR);
        }
    }
}

/// Whether a request has only fields that HTTP/3 has (RFC 9114 §4.2), and one length at most.
fn is_valid(fields: &HeaderMap) -> bool {
    let is_te_good = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter();
    let is_number = |value: &HeaderValue| value.as_bytes().iter().all(u8::is_ascii_digit);
    let is_length_good = lengths.next().is_none_or(is_number) && lengths.next().is_none();
    is_length_good
        && !OF_CONNECTION.iter().any(|name| fields.contains_key(name))
        && fields.get_all(header::TE).iter().all(is_te_good)
}

/// Sends a response.
async fn send(
    stream: &mut RequestStream<quic::SendStream, Bytes>,
    response: Response<Body>,
    patience: Duration,
) -> Result<(), Failed> {
    let (mut head, mut body) = response.into_parts();
    for name in &OF_CONNECTION {
        head.headers.remove(name);
    }
    head.headers.entry(header::DATE).or_insert_with(now);
    if let Some(length) = body.size_hint().exact()
        && !head.status.is_informational()
        && length > 0
    {
        head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    let head = Response::from_parts(head, ());
    timeout(patience, stream.send_response(head)).await??;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.map_err(|_| Failed)?.into_data() {
            timeout(patience, stream.send_data(data)).await??;
        }
    }
    timeout(patience, stream.finish()).await??;
    Ok(())
}

fn now() -> HeaderValue {
    let text = date::format(Clock::system().now());
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

/// A response could not be sent to its end.
struct Failed;

impl<E: std::error::Error> From<E> for Failed {
    fn from(_: E) -> Self {
        Self
    }
}
