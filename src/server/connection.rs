//! One connection: PROXY header, TLS, then the HTTP version that ALPN selected.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Handler, MAX_HEAD, Shared, TlsSettings, canonical,
    clear_stream::ClearStream,
    frame_budget::{ENHANCE_YOUR_CALM, Exhausted, FrameBudget},
    handshake::{cipher, shake_hands},
    http1_end::Http1End,
    plain_http,
    protocol::Http,
    proxy_header,
    rewound::Rewound,
    stream_batch::StreamBatch,
    timed_io::TimedIo,
    tls::ACME_ALPN,
    write_batcher::WriteBatcher,
};
use crate::{
    access::restrict::Share,
    base::{
        clock::Clock,
        log::{LogLimiter, unless_zero},
    },
    http::body::Body,
    proxy::Connection,
};

/// Unsent bytes that the kernel may buffer for a slow viewer. Without a bound it buffers megabytes, which no
/// counter includes, and a slow viewer looks stalled: the socket is writable again only when a good part of them
/// is sent.
const UNSENT: u32 = 512 << 10;

/// Once draining, how long a connection may still send one more request.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Time allowed to write the final GOAWAY and to discard what the client still sends.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a flood that are discarded after the GOAWAY.
const MAX_DISCARDED: u64 = 1 << 20;

/// Sends a flooding client the reason, then discards what it still sends. The kernel resets a connection that
/// is closed with unread bytes, and a reset destroys a GOAWAY that the client has not read yet.
async fn send_goaway<S: AsyncRead + AsyncWrite + Unpin>(mut io: WriteBatcher<S>) -> io::Result<()> {
    io.write_all(&ENHANCE_YOUR_CALM).await?;
    poll_fn(|cx| io.poll_out(cx)).await?;
    io.shutdown().await?;
    tokio::io::copy(&mut io.take(MAX_DISCARDED), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Logs that a connection is closed because its PROXY header is missing, invalid or not trusted.
fn report_no_proxy(client: SocketAddr, error: &io::Error) {
    static LINES: LogLimiter = LogLimiter::new();
    if let Some(suppressed) = LINES.admit(Clock::system().now()) {
        tracing::warn!(
            %client,
            %error,
            suppressed = unless_zero(suppressed),
            "closed a connection without a trusted PROXY header; `listen.proxy_protocol` requires one"
        );
    }
}

/// Counts one more in a gauge until dropped.
pub(super) struct ConnectionGauge<'a>(&'a Gauge);

impl<'a> ConnectionGauge<'a> {
    pub(super) fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for ConnectionGauge<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Serves connections of one endpoint.
pub(super) struct Server<H> {
    pub(super) handler: H,
    pub(super) shared: Shared,
    pub(super) tls: Option<Arc<TlsSettings>>,
}

impl<H: Handler> Server<H> {
    /// Serves a connection to its end.
    pub(super) async fn serve(&self, stream: TcpStream, client: SocketAddr) {
        let _counted = ConnectionGauge::new(&self.shared.metrics.connections);
        if let Err(error) = self.serve_stream(stream, client).await {
            tracing::debug!(%client, %error, "connection ended");
            self.shared.metrics.connection_errors.inc();
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream, client: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        // If the system lacks this option, slow viewers only cost more.
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        let is_proxied = self.shared.limits.proxy_protocol;
        let client = if is_proxied {
            let proxied = self.proxied(&mut stream, client).await;
            proxied.inspect_err(|error| report_no_proxy(client, error))?
        } else {
            client
        };
        // A proxy's connections count for its clients.
        let _share = if is_proxied {
            let share = self.shared.clients_share(client.ip());
            share.ok_or_else(|| io::Error::other("the client has reached its connection limit"))?
        } else {
            Share::exempt()
        };
        let connection = |tls| Connection::of(client.ip(), Some(client.port()), is_proxied, tls);
        let Some(settings) = &self.tls else {
            let connection = connection(None);
            let stream = ClearStream::new(stream, self.shared.pages.clone());
            let io = self.timed(stream, Http::One, &connection);
            return match self.speak_http1(io, Arc::clone(&connection)).await? {
                Http1End::Closed => Ok(()),
                // Prior knowledge (RFC 9113 §3.3).
                Http1End::IsHttp2(mut io, begun) => {
                    io.begin_http2();
                    Box::pin(self.speak_http2(Rewound::new(begun, io), connection)).await
                }
            };
        };
        let timeout = self.shared.limits.handshake_timeout;
        if tokio::time::timeout(timeout, plain_http::is_plain(&stream)).await? {
            return plain_http::refuse(stream).await;
        }
        // Boxed, so that the handshake and the large futures do not enlarge every connection's task.
        let shaken = Box::pin(shake_hands(stream, settings, (client.ip(), &self.shared))).await;
        let (mut stream, security) = shaken?;
        let protocol = stream.get_ref().1.alpn_protocol();
        if protocol == Some(ACME_ALPN) {
            // The handshake is the whole proof.
            return stream.shutdown().await;
        }
        let is_http2 = protocol == Some(b"h2");
        let connection = connection(Some((security, cipher(&stream))));
        if is_http2 {
            let io = self.timed(stream, Http::Two, &connection);
            Box::pin(self.speak_http2(io, connection)).await
        } else {
            let io = self.timed(stream, Http::One, &connection);
            match Box::pin(self.speak_http1(io, connection)).await? {
                Http1End::Closed => Ok(()),
                Http1End::IsHttp2(..) => {
                    Err(io::Error::other("HTTP/2 on a connection for HTTP/1.1"))
                }
            }
        }
    }

    fn timed<S>(&self, stream: S, http: Http, connection: &Arc<Connection>) -> TimedIo<S> {
        let (limits, pressure) = (&self.shared.limits, self.shared.pressure());
        TimedIo::new(stream, http, Arc::clone(connection), limits, pressure)
    }

    /// Reads the viewer's address from the PROXY header of a trusted proxy.
    async fn proxied(&self, stream: &mut TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
        if !self.shared.trusted_proxies.load().contain(peer.ip()) {
            return Err(io::Error::other("PROXY headers are accepted only from `trusted_proxies`"));
        }
        let header = proxy_header::read(stream);
        let header = tokio::time::timeout(self.shared.limits.handshake_timeout, header).await;
        let named = header
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "PROXY header timed out"))??;
        Ok(named.map_or(peer, canonical))
    }

    async fn speak_http2<S>(&self, io: S, connection: Arc<Connection>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (limits, client) = (&self.shared.limits, connection.client);
        let exhausted = Exhausted::default();
        let io = WriteBatcher::new(FrameBudget::new(io, exhausted.clone()));
        let exchanges = StreamBatch::default();
        let mut builder = http2::Builder::new(exchanges.executor());
        builder.timer(TokioTimer::new());
        builder.max_concurrent_streams(limits.max_streams).max_header_list_size(MAX_HEAD);
        if let Some(ping) = limits.ping {
            builder.keep_alive_interval(ping).keep_alive_timeout(ping);
        }
        let handler = self.handler.clone();
        let served = builder.serve_connection(
            TokioIo::new(io.clone()),
            service_fn(move |request| {
                handler.handle(received(request), None, &connection).map(Ok::<_, Infallible>)
            }),
        );
        let poll = |served: Pin<&mut _>, cx: &mut Context<'_>| match exchanges.poll(served, cx) {
            Poll::Ready(ended) => Poll::Ready(ended.map_err(|error| self.judge(error))),
            Poll::Pending => match io.poll_out(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            },
        };
        let shut = |served: Pin<&mut http2::Connection<_, _, _>>| served.graceful_shutdown();
        let ended = until_drained(pin!(served), pin!(self.left()), poll, shut).await;
        if exhausted.is_set() {
            self.report_flood(client);
            let _ = tokio::time::timeout(GOAWAY_TIMEOUT, send_goaway(io)).await;
        }
        ended
    }

    fn report_flood(&self, client: IpAddr) {
        static LINES: LogLimiter = LogLimiter::new();
        self.shared.metrics.multiplexed.http2_floods.inc();
        if let Some(suppressed) = LINES.admit(Clock::system().now()) {
            tracing::warn!(
                %client,
                suppressed = unless_zero(suppressed),
                "closed an HTTP/2 connection that sent too many control frames"
            );
        }
    }

    /// Completes `DRAIN_GRACE` after the drain begins, because a request may already be in flight.
    pub(super) async fn drained(&self) {
        self.shared.drain.clone().begun().await;
        tokio::time::sleep(DRAIN_GRACE).await;
    }

    /// The same, but also if another process accepts the connections: HTTP/2 can end one without losing a request.
    async fn left(&self) {
        self.shared.drain.clone().left().await;
        tokio::time::sleep(DRAIN_GRACE).await;
    }

    pub(super) fn judge(&self, error: hyper::Error) -> io::Error {
        if error.is_parse_too_large() {
            self.shared.metrics.oversized_heads.inc();
        }
        io::Error::other(error)
    }
}

/// A request as the handler takes it, for either protocol.
pub(super) fn received(request: Request<Incoming>) -> Request<Body> {
    request.map(Body::incoming)
}

/// Polls `served` until it ends. Calls `shut` when `drained` ends.
pub(super) async fn until_drained<C, T>(
    mut served: Pin<&mut C>,
    drained: Pin<&mut impl Future<Output = ()>>,
    mut poll: impl FnMut(Pin<&mut C>, &mut Context<'_>) -> Poll<T>,
    shut: impl FnOnce(Pin<&mut C>),
) -> T {
    tokio::select! {
        biased;
        ended = poll_fn(|cx| poll(served.as_mut(), cx)) => return ended,
        () = drained => shut(served.as_mut()),
    }
    poll_fn(|cx| poll(served.as_mut(), cx)).await
}
