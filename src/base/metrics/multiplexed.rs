//! HTTP/2 and HTTP/3 connections.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

/// Metrics of HTTP/2 and HTTP/3 connections.
#[derive(Debug, Default)]
pub(crate) struct MultiplexedMetrics {
    /// HTTP/2 connections closed because of too many control frames.
    pub(crate) http2_floods: Counter,
    /// Clients that had to prove their address.
    pub(crate) quic_retries: Counter,
}

impl MultiplexedMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "http2_floods",
            "HTTP/2 connections closed because they sent too many control frames",
            self.http2_floods.clone(),
        );
        registry.register(
            "quic_retries",
            "Clients that had to prove their address before an HTTP/3 connection, because many connections were open",
            self.quic_retries.clone(),
        );
    }
}
