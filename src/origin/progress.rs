//! Tracks a request's content on its way to an origin: whether it progresses, and whether the viewer failed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{Stream, stream::poll_fn};
use http::Request;
use http_body_util::BodyExt;
use parking_lot::Mutex;

use super::timeouts::Timeouts;
use crate::{
    base::clock::Stopwatch,
    http::body::{Body, BodyError},
    outbound::error::Error,
};

/// Tracks the content of one request. A request without content has nothing to track.
#[derive(Debug, Default)]
pub(super) struct Progress(Option<Arc<State>>);

#[derive(Debug, Default)]
struct State {
    parts: AtomicU64,
    /// The viewer has not sent the next part: the origin can do nothing meanwhile.
    awaits_viewer: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// Time spent waiting for the viewer, and the start of the current wait.
    waited: Mutex<(Duration, Option<Stopwatch>)>,
}

impl Progress {
    /// Tracks the parts of the message's content that are read from here on.
    pub(super) fn of(message: &mut Request<Body>) -> Self {
        let body = message.body_mut();
        if http_body::Body::is_end_stream(body) {
            return Self(None);
        }
        let length = http_body::Body::size_hint(body).exact();
        let state = Arc::new(State::default());
        let seen = Arc::clone(&state);
        let mut content = Box::pin(std::mem::replace(body, Body::empty()).into_data_stream());
        let parts = poll_fn(move |cx| {
            let part = content.as_mut().poll_next(cx);
            seen.note(&part);
            part
        });
        *body = Body::stream(length, parts);
        Self(Some(state))
    }

    /// Waits for the response. The timeout restarts whenever more content is sent, and does not run while the
    /// viewer's next part is outstanding: the viewer has its own limits.
    ///
    /// # Errors
    /// The viewer's failure if its content failed, whatever the result of the exchange.
    pub(super) async fn watch<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
        timeouts: &mut Timeouts,
    ) -> Result<T, Error> {
        let mut answer = std::pin::pin!(answer);
        let sent = || self.0.as_ref().map_or(0, |state| state.parts.load(Ordering::Relaxed));
        loop {
            let before = sent();
            let waited = timeouts.wait(answer.as_mut()).await;
            if let Some(state) = &self.0 {
                timeouts.give_back(state.take_waited());
            }
            let error = match waited {
                Ok(result) => {
                    return result.map_err(|error| self.viewers_failure().unwrap_or(error));
                }
                Err(error) => error,
            };
            let awaits_viewer =
                self.0.as_ref().is_some_and(|s| s.awaits_viewer.load(Ordering::Acquire));
            let is_complete = matches!(error, Error::CompletionTimeout);
            if !awaits_viewer && (sent() == before || (is_complete && timeouts.left().is_zero())) {
                return Err(error);
            }
        }
    }

    fn viewers_failure(&self) -> Option<Error> {
        self.0.as_ref()?.failure.lock().take()
    }
}

impl State {
    /// The time spent waiting for the viewer since the last call.
    fn take_waited(&self) -> Duration {
        let mut waited = self.waited.lock();
        let current = waited.1.map(Stopwatch::elapsed).unwrap_or_default();
        waited.1 = waited.1.map(|_| Stopwatch::start());
        std::mem::take(&mut waited.0) + current
    }

    fn note_waiting(&self, waits: bool) {
        let mut waited = self.waited.lock();
        match waited.1 {
            None if waits => waited.1 = Some(Stopwatch::start()),
            Some(since) if !waits => *waited = (waited.0 + since.elapsed(), None),
            _ => {}
        }
    }

    fn note(&self, part: &Poll<Option<Result<bytes::Bytes, BodyError>>>) {
        self.awaits_viewer.store(part.is_pending(), Ordering::Release);
        self.note_waiting(part.is_pending());
        match part {
            Poll::Ready(Some(Ok(_))) => {
                self.parts.fetch_add(1, Ordering::Relaxed);
            }
            Poll::Ready(Some(Err(BodyError::Aborted(_)))) => {
                *self.failure.lock() = Some(Error::ViewerTooSlow);
            }
            Poll::Ready(Some(Err(BodyError::Connection(_)))) => {
                *self.failure.lock() = Some(Error::ViewerContent);
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
    }
}
