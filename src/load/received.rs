//! A response as it arrives.

use bytes::{Buf, Bytes};
use h3::client::RequestStream;
use http::{header, response::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::exchange_error::ExchangeError;
use crate::quic::BidiStream;

/// A response whose head has arrived.
pub(super) struct Received {
    pub(super) head: Parts,
    content: Content,
}

/// A request's stream over HTTP/3.
type Stream = RequestStream<BidiStream, Bytes>;

enum Content {
    Hyper(Incoming),
    Http3 {
        stream: Box<Stream>,
        /// Bytes that are still to arrive, if known.
        left: Option<u64>,
    },
}

impl Received {
    /// A response over HTTP/1.1 or HTTP/2.
    pub(super) fn hyper(response: http::Response<Incoming>) -> Self {
        let (head, content) = response.into_parts();
        Self { head, content: Content::Hyper(content) }
    }

    /// A response over HTTP/3.
    pub(super) fn http3(response: http::Response<()>, stream: Stream, is_to_head: bool) -> Self {
        let (head, ()) = response.into_parts();
        let left = head.headers.get(header::CONTENT_LENGTH);
        let left = left.and_then(|length| length.to_str().ok()?.parse().ok());
        // A 304, and a response to HEAD, have the length of other content.
        let has_length = !is_to_head && head.status != http::StatusCode::NOT_MODIFIED;
        let left = left.filter(|_| has_length);
        Self { head, content: Content::Http3 { stream: Box::new(stream), left } }
    }

    /// Waits for more content; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        match &mut self.content {
            Content::Hyper(body) => match body.frame().await {
                // Trailers have no content.
                Some(frame) => Ok(Some(frame?.into_data().unwrap_or_default())),
                None => Ok(None),
            },
            Content::Http3 { stream, left } => {
                let received = stream.recv_data().await.map_err(ExchangeError::from);
                let received = received.map_err(|it| ExchangeError::Truncated(it.to_string()));
                let Some(mut data) = received? else {
                    return if left.is_none_or(|left| left == 0) {
                        Ok(None)
                    } else {
                        Err(ExchangeError::WrongLength)
                    };
                };
                let data = data.copy_to_bytes(data.remaining());
                if let Some(left) = left {
                    let length = data.len() as u64;
                    *left = left.checked_sub(length).ok_or(ExchangeError::WrongLength)?;
                }
                Ok(Some(data))
            }
        }
    }
}
