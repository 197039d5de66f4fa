//! A target of a run.

use std::sync::OnceLock;

use http::{HeaderValue, uri::PathAndQuery};

use super::answer::Known;

/// A target to request.
pub(crate) struct Target {
    /// The request path, signed if there is a signer.
    pub(super) path: PathAndQuery,
    /// The range from a log.
    pub(super) range: Option<HeaderValue>,
    /// Facts from its responses.
    pub(super) known: OnceLock<Known>,
}

impl Target {
    pub(super) const fn new(path: PathAndQuery, range: Option<HeaderValue>) -> Self {
        Self { path, range, known: OnceLock::new() }
    }

    /// The path and query of a request.
    pub(super) const fn path(&self) -> &PathAndQuery {
        &self.path
    }
}
