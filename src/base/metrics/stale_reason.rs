//! The reason for serving a stale response.

/// The reason for serving a stale response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// A directive of the response or the request allows it, or the origin failed a moment ago.
    Allowed,
    /// The origin failed.
    OriginError,
    /// The origin no longer has the object, and the policy keeps such objects for a time.
    OriginMissing,
}

impl StaleReason {
    /// All of them, in order.
    pub(super) const ALL: [Self; 3] = [Self::Allowed, Self::OriginError, Self::OriginMissing];

    /// The label in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::OriginError => "origin-error",
            Self::OriginMissing => "origin-missing",
        }
    }
}
