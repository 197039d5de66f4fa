//! HTTP/3 (RFC 9114): connections and their limits.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use h3::error::Code;
use quinn::{ConnectionError, Endpoint, Incoming, TransportErrorCode, VarInt};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Handler, MAX_HEAD, Shared, canonical, connection::ConnectionGauge, drain::Accepting,
    http3_request::Http3Request,
};
use crate::{
    base::{
        clock::Clock,
        log::{LogLimiter, unless_zero},
    },
    behavior::SecurityPolicy,
    proxy::Connection,
    quic::{self, application_code},
};

/// From this fraction of the connections on (one eighth), a client must prove that it receives packets at its address
/// (RFC 9000 §8.1.2). It costs a round trip.
const RETRY_FROM: usize = 8;

/// Requests without a valid head that a connection may send. The library keeps a note of each.
const MAX_HEADLESS: usize = 1000;

/// Once draining, how long a client may still begin requests that it sent before it knew.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long open connections may finish their requests. After that, the next process gets the socket.
const ENDING: Duration = Duration::from_secs(5);

/// A connection that sends nothing for this long has sent all.
const QUIET: Duration = Duration::from_secs(1);

fn no_error() -> VarInt {
    application_code(Code::H3_NO_ERROR)
}

/// Whether a connection ended without an error, or with a timeout like any idle connection. `is_closing` is whether this
/// process ends its connections.
fn is_regular(reason: &ConnectionError, is_closing: bool) -> bool {
    match reason {
        ConnectionError::ApplicationClosed(close) => close.error_code == no_error(),
        ConnectionError::ConnectionClosed(close) => {
            close.error_code == TransportErrorCode::NO_ERROR
        }
        ConnectionError::TimedOut => true,
        ConnectionError::LocallyClosed => is_closing,
        _ => false,
    }
}

/// Serves the connections of one UDP socket.
pub(super) struct Http3<H> {
    pub(super) handler: H,
    pub(super) shared: Shared,
}

impl<H: Handler> Http3<H> {
    /// Serves connections until the drain ends.
    pub(super) async fn accept(self: Arc<Self>, endpoint: Endpoint) {
        let mut drain = self.shared.drain.clone();
        let patience = loop {
            match drain.accepting() {
                Accepting::Now => {}
                Accepting::Later => {
                    drain.changed().await;
                    continue;
                }
                Accepting::TheRest => break None,
                // The next process cannot have the socket before.
                Accepting::Elsewhere => break Some(ENDING),
            }
            tokio::select! {
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming),
                    None => return,
                },
                () = drain.changed() => {}
            }
        };
        // New connections are refused; open ones finish.
        endpoint.set_server_config(None);
        drop(self);
        if let Some(patience) = patience
            && timeout(patience, endpoint.wait_idle()).await.is_err()
        {
            endpoint.close(no_error(), b"");
        }
        endpoint.wait_idle().await;
    }

    /// Serves a connection if there is room for it.
    fn admit(self: &Arc<Self>, incoming: Incoming) {
        let client = canonical(incoming.remote_address());
        let limit = self.shared.limits.max_connections;
        let open = limit - self.shared.permits.available_permits().min(limit);
        let is_proven = incoming.remote_address_validated();
        // A sender of false addresses must not use up the share of another client.
        let is_scarce = self.shared.limits.max_connections_per_client.is_some();
        if !is_proven && incoming.may_retry() && (is_scarce || open >= limit / RETRY_FROM) {
            // It is only called for what may be retried.
            let _ = incoming.retry();
            self.shared.metrics.multiplexed.quic_retries.inc();
            return;
        }
        let share = self.shared.share(client.ip());
        let permit = Arc::clone(&self.shared.permits).try_acquire_owned();
        let (Some(share), Ok(permit)) = (share, permit) else { return incoming.refuse() };
        let server = Arc::clone(self);
        tokio::spawn(async move {
            let counted = ConnectionGauge::new(&server.shared.metrics.connections);
            if let Err(error) = server.serve(incoming, client).await {
                tracing::debug!(%client, %error, "an HTTP/3 connection ended");
                server.shared.metrics.connection_errors.inc();
            }
            drop((counted, permit, share));
        });
    }

    /// Serves a connection to its end.
    async fn serve(&self, incoming: Incoming, client: SocketAddr) -> io::Result<()> {
        let limits = &self.shared.limits;
        let shaken = timeout(limits.handshake_timeout, incoming).await?;
        let quic = shaken.inspect_err(|error| self.report(client, error))?;
        let tls = Some((SecurityPolicy::STRICTEST, None));
        let connection = Connection::of(client.ip(), Some(client.port()), false, tls);
        let mut builder = h3::server::builder();
        builder.max_field_section_size(MAX_HEAD.into()).send_grease(false);
        let transport = quic::Connection::new(quic.clone());
        let built = timeout(limits.handshake_timeout, builder.build(transport));
        let mut http3 = built.await?.map_err(io::Error::other)?;
        let answered = self.answer(&mut http3, &quic, &connection).await;
        let is_closing = self.shared.drain.closing().is_set();
        if answered.is_err() && quic.close_reason().is_some_and(|why| is_regular(&why, is_closing))
        {
            return Ok(());
        }
        answered?;
        // The last responses may still be on their way. Until then, the stream of settings must stay open (RFC 9114
        // §6.2.1).
        let mut sent = 0;
        while quic.stats().frame_tx.stream > sent {
            sent = quic.stats().frame_tx.stream;
            if timeout(QUIET, quic.closed()).await.is_ok() {
                break;
            }
        }
        quic.close(no_error(), b"");
        drop(http3);
        Ok(())
    }

    /// Answers the requests of a connection, until this process leaves or the connection ends. Then requests in progress
    /// are canceled.
    async fn answer(
        &self,
        http3: &mut h3::server::Connection<quic::Connection, Bytes>,
        quic: &quinn::Connection,
        connection: &Arc<Connection>,
    ) -> io::Result<()> {
        let limits = &self.shared.limits;
        // A client may reset its requests, which then no longer count as open streams, but are still being answered.
        let most = usize::try_from(limits.max_streams).unwrap_or(usize::MAX);
        let (mut running, mut headless) = (JoinSet::new(), 0);
        let mut left = pin!(self.left());
        let (mut idle, mut last) = (pin!(sleep(limits.idle_timeout)), Instant::now());
        let mut is_leaving = false;
        while !(is_leaving && running.is_empty()) {
            if headless > MAX_HEADLESS {
                quic.close(application_code(Code::H3_EXCESSIVE_LOAD), b"");
            }
            let resolver = tokio::select! {
                accepted = http3.accept(), if running.len() < most => {
                    match accepted.map_err(io::Error::other)? {
                        Some(resolver) => resolver,
                        None => break,
                    }
                }
                Some(had_head) = running.join_next() => {
                    headless += usize::from(matches!(had_head, Ok(false)));
                    // Setting the timer for each request would cost more than all else here.
                    if running.is_empty() {
                        last = Instant::now();
                    }
                    continue;
                }
                // Packets keep a connection open for the transport, but only requests do here.
                () = &mut idle => {
                    let since = if running.is_empty() { last } else { Instant::now() };
                    if since.elapsed() >= limits.idle_timeout {
                        break;
                    }
                    idle.as_mut().reset(since + limits.idle_timeout);
                    continue;
                }
                () = &mut left, if !is_leaving => {
                    is_leaving = true;
                    // GOAWAY: the client sends further requests elsewhere.
                    http3.shutdown(1).await.map_err(io::Error::other)?;
                    sleep(DRAIN_GRACE).await;
                    continue;
                }
            };
            let request = Http3Request {
                handler: self.handler.clone(),
                connection: Arc::clone(connection),
                header_timeout: limits.header_timeout,
                write_timeout: limits.write_timeout,
            };
            let mut answer = Box::pin(request.answer(resolver));
            // A hit is answered at once. A task would cost as much as a fifth of it. Anything else gets one, which polls
            // the answer again.
            match answer.as_mut().now_or_never() {
                Some(had_head) => headless += usize::from(!had_head),
                None => drop(running.spawn(answer)),
            }
            last = Instant::now();
        }
        // What arrived before the GOAWAY is answered.
        while running.join_next().await.is_some() {}
        Ok(())
    }

    /// Counts and logs a failed handshake.
    fn report(&self, client: SocketAddr, error: &ConnectionError) {
        static LINES: LogLimiter = LogLimiter::new();
        self.shared.metrics.handshake_failed("over QUIC");
        if let Some(suppressed) = LINES.admit(Clock::system().now()) {
            tracing::warn!(
                client = %client.ip(),
                %error,
                suppressed = unless_zero(suppressed),
                "a handshake over QUIC failed: the client may not trust the certificate, or the host may have no HTTP/3"
            );
        }
    }

    /// Completes shortly after this process no longer accepts connections.
    async fn left(&self) {
        self.shared.drain.clone().left().await;
        sleep(DRAIN_GRACE).await;
    }
}
