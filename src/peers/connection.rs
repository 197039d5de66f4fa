//! The connection to one peer.

use std::{io, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{aws::describe, cluster::Peer, http::body::Body};

/// How long connecting may take, and how long a peer may be silent while requests are under way.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pause before a peer that did not answer is tried again; it doubles up to `LONGEST_PAUSE`.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How long a peer gets no requests after it could not reach the origin.
const AVOIDANCE: Duration = Duration::from_secs(2);

/// Requests under way to one peer. Further ones go to the origin.
const MAX_REQUESTS: usize = 128;

/// Bytes that a peer may send ahead, for one request and for all.
const WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 32 << 20;

/// The longest head of a response, in bytes.
const MAX_HEAD: u32 = 64 << 10;

/// A request under way.
pub(super) type Permit = OwnedSemaphorePermit;

/// The connection to one peer, which all threads share.
#[derive(Debug)]
pub(super) struct PeerConnection {
    peer: Peer,
    state: Mutex<State>,
    /// Until then, its objects have other owners.
    avoided_until: Mutex<Option<Instant>>,
    /// Held while connecting.
    connecting: tokio::sync::Mutex<()>,
    requests: Arc<Semaphore>,
}

#[derive(Debug)]
enum State {
    Idle,
    Up(Open),
    /// It did not answer. Its objects have other owners until it does.
    Down {
        retry_at: Instant,
        pause: Duration,
    },
}

/// An open connection.
#[derive(Clone, Debug)]
struct Open {
    sender: SendRequest<Body>,
    /// Random for each connection.
    number: u64,
}

/// The peer does not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    #[error("it cannot be reached")]
    Connect(#[from] io::Error),
    #[error("it did not accept a connection in time")]
    ConnectTimeout,
    #[error("the connection failed")]
    Connection(#[from] hyper::Error),
    #[error("it was unreachable before")]
    Down,
}

impl PeerConnection {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer,
            state: Mutex::new(State::Idle),
            avoided_until: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }

    pub(super) fn is_to(&self, peer: &Peer) -> bool {
        self.peer == *peer
    }

    /// Whether requests may be sent.
    pub(super) fn is_usable(&self) -> bool {
        let is_avoided = self.avoided_until.lock().is_some_and(|until| Instant::now() < until);
        !is_avoided && !matches!(*self.state.lock(), State::Down { .. })
    }

    /// Sends no requests for a while, although the peer answers.
    pub(super) fn avoid(&self) {
        *self.avoided_until.lock() = Some(Instant::now() + AVOIDANCE);
    }

    /// Whether it is time to connect again.
    pub(super) fn is_due(&self) -> bool {
        matches!(*self.state.lock(), State::Down { retry_at, .. } if retry_at <= Instant::now())
    }

    /// Room for a request, if there is any.
    pub(super) fn permit(&self) -> Option<Permit> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// If the peer does not answer.
    pub(super) async fn send(
        &self,
        tls: &Arc<ClientConfig>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, PeerError> {
        let mut open = self.connected(tls).await?;
        match open.sender.try_send_request(request).await {
            Ok(response) => Ok(response),
            Err(mut failed) => match failed.take_message() {
                // The connection had been closed, for example because it was idle.
                Some(request) => {
                    self.forget(&open);
                    let mut open = self.connected(tls).await?;
                    let sent = open.sender.send_request(request).await;
                    sent.map_err(|error| self.lost(&open, error))
                }
                None => Err(self.lost(&open, failed.into_error())),
            },
        }
    }

    /// Connects again in the background.
    pub(super) async fn revive(&self, tls: &Arc<ClientConfig>) {
        let Ok(_connecting) = self.connecting.try_lock() else { return };
        if self.is_due() && self.connect(tls).await.is_ok() {
            tracing::info!(node = self.peer.node, "the node answers again");
        }
    }

    /// The open connection, or a new one.
    async fn connected(&self, tls: &Arc<ClientConfig>) -> Result<Open, PeerError> {
        if let Some(open) = self.open()? {
            return Ok(open);
        }
        let _connecting = self.connecting.lock().await;
        match self.open()? {
            Some(open) => Ok(open),
            None => self.connect(tls).await,
        }
    }

    /// The open connection, if there is one.
    fn open(&self) -> Result<Option<Open>, PeerError> {
        match &*self.state.lock() {
            State::Up(open) if !open.sender.is_closed() => Ok(Some(open.clone())),
            State::Up(_) | State::Idle => Ok(None),
            State::Down { .. } => Err(PeerError::Down),
        }
    }

    async fn connect(&self, tls: &Arc<ClientConfig>) -> Result<Open, PeerError> {
        let connected = timeout(PATIENCE, handshake(&self.peer, tls)).await;
        let connected = connected.unwrap_or(Err(PeerError::ConnectTimeout));
        let mut state = self.state.lock();
        match connected {
            Ok(sender) => {
                let open = Open { sender, number: fastrand::u64(..) };
                *state = State::Up(open.clone());
                Ok(open)
            }
            Err(error) => {
                self.fail(&mut state, &error);
                Err(error)
            }
        }
    }

    /// Connects again for the next request.
    fn forget(&self, lost: &Open) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Up(open) if open.number == lost.number) {
            *state = State::Idle;
        }
    }

    /// Notes that a request failed on a connection, which is lost unless only the request failed.
    fn lost(&self, lost: &Open, error: hyper::Error) -> PeerError {
        let mut state = self.state.lock();
        if lost.sender.is_closed()
            && matches!(&*state, State::Up(open) if open.number == lost.number)
        {
            let error = PeerError::from(error);
            self.fail(&mut state, &error);
            return error;
        }
        error.into()
    }

    /// Stops asking the peer until it answers again.
    fn fail(&self, state: &mut State, error: &dyn std::error::Error) {
        let pause = match state {
            State::Down { pause, .. } => (*pause * 2).min(LONGEST_PAUSE),
            _ => {
                let Peer { node, address } = &self.peer;
                tracing::warn!(
                    node,
                    address,
                    error = describe(error),
                    "a node does not answer; other nodes fetch its objects from the origin. Check that it runs, that `peer_address` reaches it, and that all nodes have certificates of one `forebay cluster init`"
                );
                PAUSE
            }
        };
        *state = State::Down { retry_at: Instant::now() + pause, pause };
    }
}

async fn handshake(peer: &Peer, tls: &Arc<ClientConfig>) -> Result<SendRequest<Body>, PeerError> {
    let stream = TcpStream::connect(&peer.address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(peer.node.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(PATIENCE)
        .keep_alive_timeout(PATIENCE);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // A failure also reaches the requests under way.
        let _ = connection.await;
    });
    Ok(sender)
}
