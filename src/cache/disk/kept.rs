//! What is written again when a segment is evicted.

use super::{index::Operation, record::Record};

/// The fraction of a segment that may be filled with records of an evicted segment that are still in use.
const FRACTION: u64 = 4;

/// The most bytes of such records in memory.
const MOST: u64 = 32 << 20;

/// Records of evicted segments that will be written again.
pub(super) struct Kept {
    pub(super) records: Vec<(Record, Operation)>,
    /// Bytes that more of them may take.
    pub(super) room: u64,
}

impl Kept {
    /// No room for any.
    pub(super) const fn none() -> Self {
        Self { records: Vec::new(), room: 0 }
    }

    /// None yet, for a segment of this length.
    pub(super) fn new(segment: u64) -> Self {
        Self { records: Vec::new(), room: MOST.min(segment / FRACTION) }
    }
}
