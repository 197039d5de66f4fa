//! An error that a viewer got.

use serde::Serialize;

use super::sample::Sample;

/// An error that a viewer got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SeenError {
    /// When the last of them arrived, in milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) distribution: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: u16,
    /// The reason, as the access log names it.
    pub(crate) reason: Option<&'static str>,
    pub(crate) request_id: String,
    /// How often it was seen while it was in the list, at least: of many errors a second, not all are.
    pub(crate) times: u64,
}

impl SeenError {
    pub(super) fn of(sample: Sample) -> Self {
        Self {
            at: sample.at.as_millis(),
            distribution: sample.distribution,
            method: sample.method,
            path: sample.path,
            status: sample.status,
            reason: sample.detail,
            request_id: sample.request_id,
            times: u64::from(sample.weight.max(1)),
        }
    }

    /// Whether another error is the same for an operator.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.path == other.path && self.cause() == other.cause()
    }

    /// What errors with the same cause have in common.
    pub(super) fn cause(&self) -> (&str, u16, Option<&'static str>) {
        (&self.distribution, self.status, self.reason)
    }
}
