//! The removal of the oldest segment.

use std::sync::Arc;

use super::{IsLive, kept::Kept, segment::Segment, shared::Shared};

/// Removes a segment. Some of the records that were read since they were written are kept, without their place.
pub(super) fn evict(shared: &Shared, is_live: &IsLive, segment: &Arc<Segment>, kept: &mut Kept) {
    let Shared { index, counters, .. } = shared;
    segment.retire();
    let listed = segment.entries().or_else(|_| segment.scan().map(|(entries, _)| entries));
    let entries = listed.unwrap_or_default();
    for entry in entries.iter().filter(|entry| entry.kind.is_indexed()) {
        let Some(place) = entry.place(segment.slot) else { continue };
        let current = index.get(entry.digest).filter(|current| current.is_at(place));
        let Some(current) = current else { continue };
        let length = entry.length as u64;
        let is_used = current.reads() > 0 && length <= kept.room;
        let record = is_used.then(|| segment.record(place).ok()).flatten();
        let record = record.filter(|it| is_live(it.kind, &it.key, &it.description));
        let moved = record.and_then(|record| {
            Some((record.into_record(), index.begin_move(entry.digest, place)?))
        });
        match moved {
            Some(moved) => {
                kept.room -= length;
                kept.records.push(moved);
            }
            None => {
                index.remove(entry.digest, place);
                counters.evictions.inc();
            }
        }
    }
    shared.remove_or_abandon(segment);
}
