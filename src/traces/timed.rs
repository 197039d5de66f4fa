//! The time of a span.

use crate::base::clock::{Stopwatch, Timestamp};

/// The beginning of a span, from which its end is measured: the wall clock may be set meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    at: Timestamp,
    watch: Stopwatch,
}

impl Timed {
    pub(super) fn begin(at: Timestamp) -> Self {
        Self { at, watch: Stopwatch::start() }
    }

    /// Beginning and duration of a span that ends now.
    pub(super) fn end(self) -> (Timestamp, std::time::Duration) {
        (self.at, self.watch.elapsed())
    }
}
