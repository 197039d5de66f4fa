//! The changes that a write makes.

use super::index::Operation;

/// The change of the index when a record in the buffer has been written.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Written(Operation),
    /// The record only takes effect after a restart.
    Noted,
    Forgotten(Operation),
}
