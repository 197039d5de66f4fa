//! The table of segments.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::RwLock;

use super::segment::Segment;

/// The segments that may be read, by slot.
#[derive(Debug, Default)]
pub(super) struct Segments(RwLock<Table>);

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<Arc<Segment>>>,
    /// Slots in the order of writing, oldest first.
    order: VecDeque<u16>,
    bytes: u64,
}

impl Segments {
    /// The segment in a slot.
    pub(super) fn get(&self, slot: u16) -> Option<Arc<Segment>> {
        self.0.read().slots.get(usize::from(slot))?.clone()
    }

    /// The bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.0.read().bytes
    }

    /// The number of segments.
    pub(super) fn len(&self) -> usize {
        self.0.read().order.len()
    }

    /// A slot for another segment.
    pub(super) fn free_slot(&self) -> Option<u16> {
        let table = self.0.read();
        let free = table.slots.iter().position(Option::is_none).unwrap_or(table.slots.len());
        u16::try_from(free).ok()
    }

    /// Adds the newest segment.
    pub(super) fn add(&self, segment: Arc<Segment>) {
        let (slot, mut table) = (segment.slot, self.0.write());
        let needed = usize::from(slot) + 1;
        if table.slots.len() < needed {
            table.slots.resize(needed, None);
        }
        table.bytes += segment.length();
        table.order.push_back(slot);
        table.slots[usize::from(slot)] = Some(segment);
    }

    /// The oldest segment.
    pub(super) fn oldest(&self) -> Option<Arc<Segment>> {
        let table = self.0.read();
        table.slots.get(usize::from(*table.order.front()?))?.clone()
    }

    /// The slots in use, that of the newest segment first.
    pub(super) fn newest_first(&self) -> Vec<u16> {
        self.0.read().order.iter().rev().copied().collect()
    }

    /// The file of a segment was cut to `length` bytes.
    pub(super) fn shorten(&self, segment: &Segment, length: u64) {
        let mut table = self.0.write();
        let found = table.slots.get(usize::from(segment.slot)).and_then(Option::as_ref);
        let is_there = found.is_some_and(|found| found.sequence == segment.sequence);
        let saved = segment.length().saturating_sub(length);
        segment.set_length(length);
        if is_there {
            table.bytes -= saved;
        }
    }

    /// Removes all segments from the table, and closes their files unless they are being read.
    pub(super) fn clear(&self) {
        *self.0.write() = Table::default();
    }

    /// Frees the slot of a segment. False if the segment is not in the table any more.
    pub(super) fn remove(&self, segment: &Segment) -> bool {
        let (slot, mut table) = (segment.slot, self.0.write());
        let found = table.slots.get(usize::from(slot)).and_then(Option::as_ref);
        if found.is_none_or(|found| found.sequence != segment.sequence) {
            return false;
        }
        table.order.retain(|other| *other != slot);
        table.bytes -= segment.length();
        table.slots[usize::from(slot)] = None;
        true
    }
}
