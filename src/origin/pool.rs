//! A bounded pool of kept-alive connections to one origin, with a bounded queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::retry::Budget;
use crate::{
    access::restrict::Share,
    base::clock::Stopwatch,
    http::body::Body,
    outbound::{connect::Connector, error::Error, timing::Timing},
};

/// The time after which an unused connection is closed; S3 closes its side soon after.
const IDLE: Duration = Duration::from_secs(15);

/// Requests that may wait, for each connection allowed.
const QUEUE_PER_CONNECTION: usize = 16;

/// The longest time that a request waits for a free connection.
pub(super) const QUEUE_PATIENCE: Duration = Duration::from_secs(10);

/// The longest time in which a connection may become ready after its last response was read.
const SETTLE: Duration = Duration::from_secs(1);

/// The connections of one origin.
pub(super) struct Pool {
    connector: Connector,
    idle: Mutex<Vec<(SendRequest<Body>, Stopwatch)>>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
    max_idle: usize,
}

/// The kind of connection that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Any connection.
    Any,
    /// One that was never used.
    New,
}

impl Pool {
    pub(super) fn new(connector: Connector, max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            connector,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(max_connections)),
            waiting: AtomicUsize::new(0),
            max_idle: max_connections,
            max_waiting: max_connections.saturating_mul(QUEUE_PER_CONNECTION),
        })
    }

    /// Returns a connection for one request. Retries of connecting are taken from `budget`.
    pub(super) async fn checkout(
        self: &Arc<Self>,
        want: Want,
        budget: &Budget,
    ) -> Result<Lease, Error> {
        let permit = self.permit().await?;
        let kept = if want == Want::Any { self.take_idle() } else { None };
        let reused = kept.is_some();
        let (sender, timing) = match kept {
            Some(sender) => (sender, Timing::default()),
            // Boxed, like all rare steps: the future of every miss stays small.
            None => Box::pin(self.connector.connect(|| budget.withdraw())).await?,
        };
        Ok(Lease {
            sender: Some(sender),
            reused,
            timing,
            pool: Arc::clone(self),
            permit: Some(permit),
            share: None,
        })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = QueueSlot::take(&self.waiting, self.max_waiting).ok_or(Error::Busy)?;
        let permit = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(QUEUE_PATIENCE, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Error::Busy),
        }
    }

    /// Takes the most recently used connection, so that spare ones age and close.
    fn take_idle(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock();
        while let Some((sender, since)) = idle.pop() {
            if sender.is_ready() && since.elapsed() < IDLE {
                return Some(sender);
            }
        }
        None
    }

    fn put_idle(&self, sender: SendRequest<Body>) {
        let mut idle = self.idle.lock();
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
        idle.push((sender, Stopwatch::start()));
        if idle.len() > self.max_idle {
            idle.remove(0);
        }
    }
}

/// A slot in the queue.
struct QueueSlot<'a>(&'a AtomicUsize);

impl<'a> QueueSlot<'a> {
    fn take(waiting: &'a AtomicUsize, max: usize) -> Option<Self> {
        let room = |taken| (taken < max).then_some(taken + 1);
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The right to use one connection for one exchange. Dropping it closes the connection;
/// [`Lease::give_back`] keeps it for reuse.
pub(super) struct Lease {
    sender: Option<SendRequest<Body>>,
    /// Whether the connection was used before.
    pub(super) reused: bool,
    /// The time that connecting took.
    pub(super) timing: Timing,
    pool: Arc<Pool>,
    permit: Option<OwnedSemaphorePermit>,
    /// The connection share of the client that sets the pace of the exchange.
    pub(super) share: Option<Share>,
}

impl Lease {
    pub(super) async fn send(
        &mut self,
        request: http::Request<Body>,
    ) -> Result<http::Response<hyper::body::Incoming>, Error> {
        match &mut self.sender {
            Some(sender) => Ok(sender.send_request(request).await?),
            None => Err(Error::Busy),
        }
    }

    /// Returns the connection to the pool. Call this once the whole response was read.
    pub(super) fn give_back(mut self) {
        let Some(mut sender) = self.sender.take() else { return };
        if sender.is_ready() {
            return self.pool.put_idle(sender);
        }
        let (pool, permit) = (Arc::clone(&self.pool), self.permit.take());
        tokio::spawn(async move {
            if let Ok(Ok(())) = tokio::time::timeout(SETTLE, sender.ready()).await {
                pool.put_idle(sender);
            }
            drop(permit);
        });
    }
}
