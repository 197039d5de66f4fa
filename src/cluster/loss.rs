//! The loss of purges.

/// The reason why purges may be missing, so that nothing older may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Loss {
    #[error("what it has is not from this cluster")]
    New,
    #[error("the stream was created again")]
    Recreated,
    #[error("the stream has lost its last messages")]
    Truncated,
    #[error("the stream lost messages while this node was away")]
    Missed,
    #[error("the stream is full, and discarded messages that this node had not read")]
    Discarded,
    #[error("node `{0}` has seen other purges than this one: the stream has lost some")]
    Diverged(String),
}

impl Loss {
    /// Whether other nodes may have what a lost purge removed.
    pub(super) const fn concerns_all(&self) -> bool {
        matches!(self, Self::Truncated | Self::Diverged(_))
    }
}
