//! The state of a cluster's stream.

/// The state of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamState {
    /// The identity of the stream: another one was created later.
    pub(super) name: String,
    pub(super) first: u64,
    pub(super) last: u64,
    /// Whether old messages are discarded, or will be soon.
    pub(super) is_full: bool,
}

/// A purge of everything in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    pub(super) sequence: u64,
    pub(super) number: u64,
}
