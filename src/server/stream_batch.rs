//! Starts the exchanges of an HTTP/2 connection in batches.
//!
//! Exchanges that were read together start before anything is written. Hits are answered at once, in one write
//! and without a task for each; the others become tasks.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use hyper::rt;
use parking_lot::Mutex;

type Exchange = Pin<Box<dyn Future<Output = ()> + Send>>;

/// New exchanges that have not started. Those left when the connection ends are dropped with it.
#[derive(Default)]
pub(super) struct StreamBatch(Arc<Mutex<Vec<Exchange>>>);

/// Takes new exchanges from hyper. Each exchange holds an executor, so the reference is weak: a strong one would be
/// a cycle.
#[derive(Clone)]
pub(super) struct Executor(Weak<Mutex<Vec<Exchange>>>);

impl<F> rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, exchange: F) {
        if let Some(exchanges) = self.0.upgrade() {
            exchanges.lock().push(Box::pin(exchange));
        }
    }
}

impl StreamBatch {
    pub(super) fn executor(&self) -> Executor {
        Executor(Arc::downgrade(&self.0))
    }

    /// Polls the connection, and starts the exchanges that it delivers.
    pub(super) fn poll<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        cx: &mut Context<'_>,
    ) -> Poll<hyper::Result<()>> {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            if !self.begin() {
                return Poll::Pending;
            }
        }
    }

    /// Starts the new exchanges, and returns whether there were any.
    fn begin(&self) -> bool {
        let new = std::mem::take(&mut *self.0.lock());
        let any = !new.is_empty();
        let mut no_waker = Context::from_waker(Waker::noop());
        for mut exchange in new {
            // A pending exchange becomes a task, which registers its own waker.
            if exchange.as_mut().poll(&mut no_waker).is_pending() {
                tokio::spawn(exchange);
            }
        }
        any
    }
}
