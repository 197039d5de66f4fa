//! The exchanges of an HTTP/2 connection, begun together.
//!
//! Whatever came in one read is begun before anything goes out: hits are answered there and then,
//! with one write for all of them and without a task for any; the others become tasks.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use hyper::rt::Executor;
use parking_lot::Mutex;

type Exchange = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Exchanges that have come and were not begun. What is left when the connection ends is dropped with it.
#[derive(Default)]
pub(super) struct Exchanges(Arc<Mutex<Vec<Exchange>>>);

/// Where the library puts what comes. Each exchange holds one of these: were it to keep the others, they
/// would keep each other for good.
#[derive(Clone)]
pub(super) struct Come(Weak<Mutex<Vec<Exchange>>>);

impl<F> Executor<F> for Come
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, exchange: F) {
        if let Some(come) = self.0.upgrade() {
            come.lock().push(Box::pin(exchange));
        }
    }
}

impl Exchanges {
    pub(super) fn come(&self) -> Come {
        Come(Arc::downgrade(&self.0))
    }

    /// Polls the connection that they come from, and begins them.
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

    /// Whether there were any.
    fn begin(&self) -> bool {
        let come = std::mem::take(&mut *self.0.lock());
        let any = !come.is_empty();
        let mut nobody = Context::from_waker(Waker::noop());
        for mut exchange in come {
            // Where it waits, it is polled again, and tells anew whom to wake.
            if exchange.as_mut().poll(&mut nobody).is_pending() {
                tokio::spawn(exchange);
            }
        }
        any
    }
}
