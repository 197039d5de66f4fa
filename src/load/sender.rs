//! Sends requests on a connection.

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use tokio::sync::watch;

use super::{exchange_error::ExchangeError, received::Received};
use crate::quic::Opener;

/// Sends requests on one connection.
pub(super) struct Sender {
    asks: Asks,
    closed: watch::Receiver<()>,
}

/// A connection by its version of HTTP.
pub(super) enum Asks {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
    Three(h3::client::SendRequest<Opener, Bytes>),
}

impl Sender {
    /// `closed` changes when the connection ends.
    pub(super) const fn new(asks: Asks, closed: watch::Receiver<()>) -> Self {
        Self { asks, closed }
    }

    /// `count` senders on the same connection; only one with HTTP/1.1.
    pub(super) fn shared(self, count: usize) -> Vec<Self> {
        let one = |asks| Self { asks, closed: self.closed.clone() };
        match &self.asks {
            Asks::One(_) => vec![self],
            Asks::Two(asks) => (0..count).map(|_| one(Asks::Two(asks.clone()))).collect(),
            Asks::Three(asks) => (0..count).map(|_| one(Asks::Three(asks.clone()))).collect(),
        }
    }

    /// A receiver that changes when the connection ends.
    pub(super) fn closed(&self) -> watch::Receiver<()> {
        self.closed.clone()
    }

    /// Whether the connection can take a request.
    pub(super) async fn is_ready(&mut self) -> bool {
        match &mut self.asks {
            Asks::One(sender) => sender.ready().await.is_ok(),
            Asks::Two(sender) => sender.ready().await.is_ok(),
            Asks::Three(_) => self.closed.has_changed().is_ok(),
        }
    }

    /// Sends a request, and waits for the head of its response.
    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Received, ExchangeError> {
        Ok(match &mut self.asks {
            Asks::One(sender) => Received::hyper(sender.send_request(request).await?),
            Asks::Two(sender) => Received::hyper(sender.send_request(request).await?),
            Asks::Three(sender) => {
                let is_head = request.method() == http::Method::HEAD;
                let mut stream = sender.send_request(request.map(drop)).await?;
                stream.finish().await?;
                let mut response = stream.recv_response().await?;
                while response.status().is_informational() {
                    response = stream.recv_response().await?;
                }
                Received::http3(response, stream, is_head)
            }
        })
    }
}
