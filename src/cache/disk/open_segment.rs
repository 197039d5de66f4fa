//! The segment that is being written.

use std::sync::Arc;

use super::{
    layout::BLOCK,
    segment::{Entry, Segment, sealing},
};

/// The segment that is being written.
pub(super) struct OpenSegment {
    pub(super) segment: Arc<Segment>,
    /// Everything before this offset is written.
    pub(super) end: u64,
    pub(super) entries: Vec<Entry>,
}

impl OpenSegment {
    /// A segment that has only its first block.
    pub(super) const fn new(segment: Arc<Segment>) -> Self {
        Self { segment, end: BLOCK as u64, entries: Vec::new() }
    }

    /// Whether `length` more bytes fit, the last of which belong to a new record.
    pub(super) fn has_room(&self, length: usize) -> bool {
        let records = length.next_multiple_of(BLOCK) as u64;
        self.end + records + sealing(self.entries.len() + 1) <= self.segment.length()
    }
}
