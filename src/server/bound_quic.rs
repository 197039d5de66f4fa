//! UDP sockets of one address, for HTTP/3.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use quinn::{EndpointConfig, ServerConfig, TransportConfig, crypto::rustls::QuicServerConfig};

use super::{
    BindError, Limits, TlsSettings,
    udp::{self, WorkerIds},
    worker_quic::WorkerQuic,
};

/// Bytes of responses on one connection that are sent and not acknowledged yet. They are in memory.
const SEND_WINDOW: u64 = 2 << 20;

/// Bytes of request content that a client may send before they are read: on one stream, and on the connection.
const STREAM_WINDOW: u32 = 256 << 10;
const RECEIVE_WINDOW: u32 = 1 << 20;

/// Streams that a client needs beside its requests (RFC 9114 §6.2).
const UNIDIRECTIONAL: u32 = 8;

/// Bound UDP sockets, one for each worker.
pub(crate) struct BoundQuic {
    sockets: Vec<UdpSocket>,
    /// Second handles of all sockets. The kernel numbers those that are open, so all stay open until the last worker ends.
    group: Arc<[UdpSocket]>,
    server: ServerConfig,
    endpoint: EndpointConfig,
}

impl BoundQuic {
    /// Binds one UDP socket per worker.
    ///
    /// # Errors
    /// When the address is taken, not this machine's, or not allowed.
    pub(crate) fn bind(
        address: SocketAddr,
        workers: usize,
        tls: &Arc<TlsSettings>,
        limits: &Limits,
    ) -> Result<Self, BindError> {
        let refuse = |source| BindError { address, is_udp: true, is_own: false, source };
        let sockets = udp::bind(address, workers).map_err(refuse)?;
        let crypto =
            QuicServerConfig::try_from(tls.for_quic().map_err(io::Error::other).map_err(refuse)?);
        let crypto = crypto.map_err(io::Error::other).map_err(refuse)?;
        let group: io::Result<_> = sockets.iter().map(UdpSocket::try_clone).collect();
        let mut server = ServerConfig::with_crypto(Arc::new(crypto));
        server.transport_config(Arc::new(transport(limits)));
        let group = group.map_err(refuse)?;
        Ok(Self { sockets, group, server, endpoint: EndpointConfig::default() })
    }

    /// The workers' parts.
    pub(crate) fn split(self) -> Vec<WorkerQuic> {
        let Self { sockets, group, server, endpoint } = self;
        let workers = sockets.len();
        let part = |(worker, socket)| {
            let (ids, mut endpoint) = (WorkerIds { worker, workers }, endpoint.clone());
            endpoint.cid_generator(move || Box::new(ids));
            let group = Arc::clone(&group);
            WorkerQuic { socket, group, endpoint, server: server.clone() }
        };
        sockets.into_iter().enumerate().map(part).collect()
    }
}

fn transport(limits: &Limits) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.max_streams.into())
        .max_concurrent_uni_streams(UNIDIRECTIONAL.into())
        .max_idle_timeout(limits.idle_timeout.try_into().ok())
        .send_window(SEND_WINDOW)
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(RECEIVE_WINDOW.into())
        // Datagrams are not part of HTTP/3.
        .datagram_receive_buffer_size(None)
        // Each is a hint for observers of the network.
        .allow_spin(false);
    transport
}
