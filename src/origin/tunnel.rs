//! Connections to an origin that have changed from HTTP to another protocol, such as WebSocket.

use std::time::Duration;

use http::HeaderValue;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

use crate::access::restrict::Share;

/// A connection to an origin that no longer speaks HTTP.
pub(crate) struct Tunnel {
    /// The connection.
    pub(crate) stream: TokioIo<Upgraded>,
    /// Its protocol, as the origin names it.
    pub(crate) protocol: HeaderValue,
    /// The longest time without a byte from the origin.
    pub(crate) idle_timeout: Duration,
    open: Gauge,
    _place: TunnelPlace,
}

/// A place among the tunnels of an origin, and of a client.
pub(super) type TunnelPlace = (OwnedSemaphorePermit, Share);

impl Tunnel {
    /// A tunnel that is counted in `open` while it exists.
    pub(super) fn new(
        stream: Upgraded,
        protocol: HeaderValue,
        idle_timeout: Duration,
        open: Gauge,
        place: TunnelPlace,
    ) -> Self {
        open.inc();
        Self { stream: TokioIo::new(stream), protocol, idle_timeout, open, _place: place }
    }
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.open.dec();
    }
}
