//! The time limits of an origin's response.

use std::time::Duration;

use crate::{base::clock::Stopwatch, outbound::Error};

/// The timeouts of one request. Only time spent waiting for the origin counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    response: Duration,
    completion: Option<Duration>,
    spent: Duration,
}

impl Timeouts {
    /// `response` is the longest wait for the head, and between two parts of the content; `completion` bounds all of
    /// it.
    pub(super) const fn new(response: Duration, completion: Option<Duration>) -> Self {
        Self { response, completion, spent: Duration::ZERO }
    }

    /// Waits for the origin's next step.
    ///
    /// # Errors
    /// When it takes too long.
    pub(super) async fn wait<T>(&mut self, step: impl Future<Output = T>) -> Result<T, Error> {
        let watch = Stopwatch::start();
        let done = tokio::time::timeout(self.response.min(self.left()), step).await;
        self.spent += watch.elapsed();
        done.map_err(|_| self.error())
    }

    /// The time left for the whole response.
    pub(super) fn left(&self) -> Duration {
        self.completion.map_or(Duration::MAX, |completion| completion.saturating_sub(self.spent))
    }

    /// Subtracts time that was spent waiting for the viewer.
    pub(super) fn give_back(&mut self, time: Duration) {
        self.spent = self.spent.saturating_sub(time);
    }

    fn error(&self) -> Error {
        if self.left().is_zero() { Error::CompletionTimeout } else { Error::ResponseTimeout }
    }
}
