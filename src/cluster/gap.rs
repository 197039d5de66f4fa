//! Missing messages.

/// Messages are missing, which may have been replaced by ones that are still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// The own heartbeats that were sent before it was seen.
    pub(super) sent: u64,
    /// The last message before it that was applied.
    pub(super) applied: u64,
}
