//! An invalidation, as stored in the history.

use serde::{Deserialize, Serialize};

/// The copy of an invalidation at CloudFront.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Elsewhere {
    pub(super) distribution: String,
    pub(super) id: String,
    pub(super) is_completed: bool,
}

/// One invalidation. It is complete on this edge before the caller gets a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Invalidation {
    pub(super) id: String,
    pub(super) distribution: String,
    /// In milliseconds since the epoch.
    pub(super) created: u64,
    pub(super) caller_reference: String,
    pub(super) items: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) elsewhere: Option<Elsewhere>,
}

impl Invalidation {
    /// The status in CloudFront's words: complete once it is complete here and at CloudFront.
    pub(super) fn status(&self) -> &'static str {
        let waits = self.elsewhere.as_ref().is_some_and(|elsewhere| !elsewhere.is_completed);
        if waits { "InProgress" } else { "Completed" }
    }
}
