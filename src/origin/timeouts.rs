//! The time that an origin has for one response.

use std::time::Duration;

use crate::{base::clock::Stopwatch, outbound::Error};

/// The timeouts of one request, which started when this was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    response: Duration,
    completion: Option<Duration>,
    watch: Stopwatch,
}

impl Timeouts {
    /// `response` is the longest wait for the head, and between two parts of the content; `completion` bounds all of it.
    pub(super) fn start(response: Duration, completion: Option<Duration>) -> Self {
        Self { response, completion, watch: Stopwatch::start() }
    }

    /// How long the next part may take.
    pub(super) fn next(&self) -> Duration {
        self.response.min(self.left())
    }

    /// The time until the whole response must have arrived.
    pub(super) fn left(&self) -> Duration {
        let left = |completion: Duration| completion.saturating_sub(self.watch.elapsed());
        self.completion.map_or(Duration::MAX, left)
    }

    /// The timeout that passed.
    pub(super) fn error(&self) -> Error {
        if self.left().is_zero() { Error::CompletionTimeout } else { Error::ResponseTimeout }
    }
}
