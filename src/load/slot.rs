//! The right to send a request.

use std::time::Duration;

/// The right to send one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// When it is due, after the start.
    pub(super) due: Duration,
    /// Its number from the start, if requests have due times.
    pub(super) number: Option<u64>,
}
