//! The response timeout of a request whose content takes time to send.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use http::Request;
use http_body_util::BodyExt;

use super::error::Error;
use crate::body::Body;

/// Counts the parts of a request's content as they are sent.
#[derive(Debug, Default)]
pub(super) struct Progress(Option<Arc<AtomicU64>>);

impl Progress {
    /// Watches the content of `message`, if it has any.
    pub(super) fn of(message: &mut Request<Body>) -> Self {
        let body = message.body_mut();
        if http_body::Body::is_end_stream(body) {
            return Self(None);
        }
        let length = http_body::Body::size_hint(body).exact();
        let parts = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&parts);
        let content = std::mem::replace(body, Body::empty()).into_data_stream();
        *body = Body::stream(
            length,
            content.inspect(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
            }),
        );
        Self(Some(parts))
    }

    /// Waits for an answer: `timeout` after the request, or after the last part of its content.
    pub(super) async fn watch<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
        timeout: Duration,
    ) -> Result<T, Error> {
        let mut answer = std::pin::pin!(answer);
        let sent = || self.0.as_ref().map_or(0, |parts| parts.load(Ordering::Relaxed));
        loop {
            let before = sent();
            if let Ok(result) = tokio::time::timeout(timeout, answer.as_mut()).await {
                return result;
            }
            if sent() == before {
                return Err(Error::ResponseTimeout);
            }
        }
    }
}
