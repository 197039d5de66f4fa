//! Invalidations by unsafe requests, for the other processes of an upgrade.

use std::sync::Arc;

/// The process that served an unsafe request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServedBy {
    /// This process.
    Own,
    /// The process that this one replaced, or an older one.
    Predecessor,
    /// The process that replaced this one, or a newer one.
    Successor,
}

/// An invalidation by an unsafe request.
#[derive(Clone, Debug)]
pub(crate) struct LateInvalidation {
    pub(crate) served_by: ServedBy,
    pub(crate) distribution: Arc<str>,
    pub(crate) path: Arc<str>,
}
