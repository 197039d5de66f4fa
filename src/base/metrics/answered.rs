//! A finished response, as the metrics count it.

use std::time::Duration;

use super::{ResultType, StaleReason};

/// A finished response, as the metrics count it.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Hit, Miss, ….
    pub result: ResultType,
    /// Status code.
    pub status: u16,
    /// Bytes of content sent.
    pub bytes: u64,
    /// Time from the request head to the end of the response.
    pub duration: Duration,
    /// Whether the request waited for the fetch of another one.
    pub is_collapsed: bool,
    /// Set if the response was stale.
    pub stale: Option<StaleReason>,
}
