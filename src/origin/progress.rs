//! The content of a request on its way to an origin: whether it goes on, and whether the viewer broke it off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use http::Request;
use http_body_util::BodyExt;

use super::error::Error;
use crate::body::Body;

/// Follows the content of one request. A request without content has nothing to follow.
#[derive(Debug, Default)]
pub(super) struct Progress(Option<Arc<State>>);

#[derive(Debug, Default)]
struct State {
    parts: AtomicU64,
    viewer_failed: AtomicBool,
}

impl Progress {
    /// Follows what is taken of the message's content from here on.
    pub(super) fn of(message: &mut Request<Body>) -> Self {
        let body = message.body_mut();
        if http_body::Body::is_end_stream(body) {
            return Self(None);
        }
        let length = http_body::Body::size_hint(body).exact();
        let state = Arc::new(State::default());
        let seen = Arc::clone(&state);
        let content = std::mem::replace(body, Body::empty()).into_data_stream();
        *body = Body::stream(
            length,
            content.inspect(move |part| {
                seen.parts.fetch_add(1, Ordering::Relaxed);
                if part.is_err() {
                    seen.viewer_failed.store(true, Ordering::Release);
                }
            }),
        );
        Self(Some(state))
    }

    /// Waits for the response; the timeout starts anew whenever more of the content was sent.
    ///
    /// # Errors
    /// [`Error::ViewerContent`] if the viewer's content failed, whatever became of the exchange.
    pub(super) async fn watch<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
        timeout: Duration,
    ) -> Result<T, Error> {
        let mut answer = std::pin::pin!(answer);
        let sent = || self.0.as_ref().map_or(0, |state| state.parts.load(Ordering::Relaxed));
        loop {
            let before = sent();
            if let Ok(result) = tokio::time::timeout(timeout, answer.as_mut()).await {
                return result.map_err(|error| self.blame(error));
            }
            if sent() == before {
                return Err(Error::ResponseTimeout);
            }
        }
    }

    /// The viewer's failure explains the connection's.
    fn blame(&self, error: Error) -> Error {
        let failed = self.0.as_ref().is_some_and(|s| s.viewer_failed.load(Ordering::Acquire));
        if failed { Error::ViewerContent } else { error }
    }
}
