//! Records of evicted segments that will be written again.

use super::{index::Operation, record::Record};

/// The fraction of a segment that may be filled with records of an evicted segment that are still in use.
const FRACTION: u64 = 4;

/// Bytes of such records that are in memory at once, at most.
const MOST: u64 = 32 << 20;

/// Records of evicted segments that will be written again.
pub(super) struct Kept {
    pub(super) records: Vec<(Record, Operation)>,
    /// Bytes that more of them may take.
    pub(super) room: u64,
}

impl Kept {
    /// None yet, for a segment of this length.
    pub(super) fn new(segment: u64) -> Self {
        Self { records: Vec::new(), room: MOST.min(segment / FRACTION) }
    }
}
