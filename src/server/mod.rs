//! Listeners: from bytes on a socket to requests for a [`Handler`].

mod accept;
mod bound;
mod bound_quic;
mod clear_stream;
mod connection;
mod drain;
mod fast_path;
mod frame_budget;
mod h1_head;
mod handshake;
mod http1;
mod http1_end;
mod http3;
mod http3_content;
mod http3_request;
mod inherited;
mod lent_io;
mod listener;
mod loan;
mod peer_handler;
mod plain_http;
mod protocol;
mod proxy_header;
mod refused_head;
mod reserved_fds;
mod rewound;
mod stream_batch;
mod timed_io;
mod tls;
mod tunnel;
mod udp;
mod viewer_handler;
mod worker_quic;
mod workers;
mod write_batcher;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Request, Response, request::Parts};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Semaphore;

use crate::{
    access::restrict::{Networks, Share, Shares},
    base::metrics::Metrics,
    cache::memfd::MemfdArena,
    http::body::Body,
    proxy::{Connection, FastHit},
};
pub use bound::Bound;
pub(crate) use bound_quic::BoundQuic;
pub(crate) use drain::{Closing, Drain, DrainSignal};
pub(crate) use inherited::InheritedSockets;
pub(crate) use listener::Listener;
pub(crate) use peer_handler::PeerHandler;
pub(crate) use refused_head::Refused;
use reserved_fds::ReservedFds;
pub(crate) use tls::{TlsProfile, TlsSettings};
pub(crate) use viewer_handler::ViewerHandler;
pub(crate) use worker_quic::WorkerQuic;
pub(crate) use workers::{Heartbeats, Workers, spawn_workers};

/// Answers requests.
pub trait Handler: Clone + Send + Sync + Unpin + 'static {
    /// The decision about a request that the fast path does not answer.
    type Decided: Send + 'static;

    /// The same handler for one worker.
    #[must_use]
    fn for_thread(&self) -> Self {
        self.clone()
    }

    /// Answers one request on `connection`. `decided` is from [`Self::answer_fast`], if that received the same
    /// request.
    fn handle(
        &self,
        request: Request<Body>,
        decided: Option<Self::Decided>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = Response<Body>> + Send + use<Self>;

    /// Answers a GET or HEAD without content, if it can do so at once. It writes the HTTP/1.1 response head into
    /// `head`, which is empty.
    ///
    /// # Errors
    /// The decision about the request, if it is not answered.
    fn answer_fast(
        &self,
        _request: Parts,
        _connection: &Arc<Connection>,
        _head: &mut Vec<u8>,
    ) -> Result<FastHit, Option<Self::Decided>> {
        Err(None)
    }

    /// Logs a request that never reached the handler. Its head is parsed as far as possible.
    fn log_refused(&self, _request: Parts, _refused: Refused, _connection: &Arc<Connection>) {}
}

/// The head in `bytes`, if the fast path would handle it.
#[cfg(feature = "fuzz")]
#[must_use]
pub fn read_head(bytes: &[u8]) -> Option<Parts> {
    h1_head::request(bytes)
}

/// The most fields in a head.
#[cfg(feature = "fuzz")]
pub const MAX_FIELDS: usize = h1_head::MAX_FIELDS;

/// Limits on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once; further ones wait in the system's queue.
    pub max_connections: usize,
    /// Connections open at once from one client, unless it is a trusted proxy; further ones are closed. Defaults
    /// to a quarter of `max_connections`.
    pub max_connections_per_client: Option<usize>,
    /// Streams open at once on a connection over HTTP/2 or HTTP/3.
    pub max_streams: u32,
    /// Longest time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest time from the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Longest time without a request.
    pub idle_timeout: Duration,
    /// Longest time in which a viewer reads no byte of its response.
    pub write_timeout: Duration,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// How often a PING is sent over HTTP/2, and how long its answer may take.
    pub ping: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 65_536,
            max_connections_per_client: None,
            max_streams: 128,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            proxy_protocol: false,
            ping: None,
        }
    }
}

/// Largest request head in bytes, for HTTP/1.1 and HTTP/2 (Amazon CloudFront Developer Guide,
/// "Quotas": 32,768 bytes).
pub const MAX_HEAD: u32 = 32 << 10;

/// One address to listen on.
#[derive(Clone)]
pub struct Endpoint {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether to speak TLS.
    pub tls: Option<Arc<TlsSettings>>,
}

/// The error if an address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}{}: {source}{}", if *is_udp { " over UDP" } else { "" }, advice(source, *is_own))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Whether it is for HTTP/3.
    pub is_udp: bool,
    /// Whether the process that is to be replaced has this port with another address.
    pub is_own: bool,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

fn advice(error: &io::Error, is_own: bool) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse if is_own => {
            " (the running Forebay uses this port with another address: restart it instead)"
        }
        io::ErrorKind::AddrInUse => " (another program uses it)",
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need the capability CAP_NET_BIND_SERVICE, which the systemd unit grants)"
        }
        io::ErrorKind::AddrNotAvailable => " (this machine does not have this address)",
        _ => "",
    }
}

impl Endpoint {
    /// Binds one socket per worker; the kernel spreads connections over them. Uses inherited sockets of the same address
    /// instead, if there are any.
    ///
    /// # Errors
    /// When the address is taken, not this machine's, or not allowed.
    pub(crate) fn bind(
        &self,
        workers: usize,
        inherited: &InheritedSockets,
    ) -> Result<Bound, BindError> {
        let is_own = inherited.has_port(self.address.port());
        let refuse = |source| BindError { address: self.address, is_udp: false, is_own, source };
        let sockets = inherited.take(self.address);
        if !sockets.is_empty() {
            for Listener { socket, .. } in &sockets {
                socket.set_nonblocking(true).map_err(refuse)?;
            }
            return Bound::new(self.address, self.tls.clone(), sockets, workers).map_err(refuse);
        }
        // SO_REUSEPORT sockets share their port with other processes too. A socket without it shows whether
        // another program is already listening.
        let probe = listen(self.address, false).map_err(refuse)?;
        let address = probe.socket.local_addr().map_err(refuse)?;
        if workers <= 1 {
            return Bound::new(address, self.tls.clone(), vec![probe], 1).map_err(refuse);
        }
        drop(probe);
        let sockets: Result<_, _> = (0..workers).map(|_| listen(address, true)).collect();
        Bound::new(address, self.tls.clone(), sockets.map_err(refuse)?, workers).map_err(refuse)
    }
}

/// The address to bind: `0.0.0.0` instead of `[::]` on a machine without IPv6.
pub(crate) fn bindable(address: SocketAddr) -> SocketAddr {
    if !address.is_ipv6() || !address.ip().is_unspecified() {
        return address;
    }
    let any_port = SocketAddr::new(address.ip(), 0);
    match std::net::TcpListener::bind(any_port) {
        Ok(_) => address,
        Err(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()),
    }
}

/// Length of the kernel's accept queue.
const BACKLOG: i32 = 4096;

fn listen(address: SocketAddr, shared: bool) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // [::] means all addresses of this machine, including IPv4.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(Listener { socket: socket.into(), is_kept: false })
}

/// Requests of another node at once: more than it sends.
const PEER_STREAMS: u32 = 256;

/// How often a PING is sent to another node.
const PEER_PING: Duration = Duration::from_secs(10);

/// State shared by all connections.
#[derive(Clone)]
pub struct Shared {
    /// Limits on connections.
    pub limits: Limits,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The signal to drain.
    pub drain: DrainSignal,
    /// Pages that are sent without copying them.
    pub pages: MemfdArena,
    /// Proxies whose PROXY headers are accepted.
    pub trusted_proxies: Arc<ArcSwap<Networks>>,
    permits: Arc<Semaphore>,
    clients: Arc<Shares>,
    reserved_fds: Arc<ReservedFds>,
}

/// Reports whether few connections are left.
#[derive(Clone, Debug)]
struct ConnectionPressure {
    permits: Arc<Semaphore>,
    few: usize,
}

impl ConnectionPressure {
    fn is_high(&self) -> bool {
        self.permits.available_permits() <= self.few
    }
}

impl Shared {
    /// Shared state of all listeners.
    #[must_use]
    pub fn new(
        limits: Limits,
        metrics: Arc<Metrics>,
        drain: DrainSignal,
        pages: MemfdArena,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(limits.max_connections));
        let clients = Shares::of(limits.max_connections, limits.max_connections_per_client);
        let (trusted_proxies, reserved_fds) = (Arc::default(), Arc::default());
        Self { limits, metrics, drain, pages, trusted_proxies, permits, clients, reserved_fds }
    }

    /// The same with file descriptors reserved for so many connections.
    #[must_use]
    pub fn with_reserved_fds(self, connections: usize) -> Self {
        Self { reserved_fds: Arc::new(ReservedFds::new(connections)), ..self }
    }

    /// The same for connections of other nodes, which carry the responses for many viewers. A PING finds out whether a
    /// node still reads, because a slow viewer may keep the window of the last response closed.
    #[must_use]
    pub fn of_peers(&self) -> Self {
        let limits = Limits {
            max_streams: PEER_STREAMS,
            write_timeout: Duration::from_hours(24),
            ping: Some(PEER_PING),
            proxy_protocol: false,
            ..self.limits
        };
        Self { limits, ..self.clone() }
    }

    fn pressure(&self) -> ConnectionPressure {
        ConnectionPressure {
            permits: Arc::clone(&self.permits),
            few: self.limits.max_connections / 8,
        }
    }

    /// A share of the connections for a peer, or `None` if it is at its limit. Trusted proxies have none.
    fn share(&self, peer: IpAddr) -> Option<Share> {
        if self.trusted_proxies.load().contain(peer) {
            return Some(Share::exempt());
        }
        self.clients_share(peer)
    }

    fn clients_share(&self, client: IpAddr) -> Option<Share> {
        let share = self.clients.take(client);
        if share.is_none() {
            accept::refuse_client(self, client);
        }
        share
    }
}

/// An IPv4 viewer on a dual-stack socket is an IPv4 viewer.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
