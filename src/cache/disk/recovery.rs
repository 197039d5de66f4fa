//! Reading what earlier processes wrote.
//!
//! Opening the segments takes a block each and happens before anything is served. Their records get into the
//! index afterwards, newest segment first. Until a record is in the index, it is a miss.

use std::{io, sync::Arc};

use super::{
    record::Kind,
    segment::{self, Segment, sealing},
    shared::Shared,
};

/// What recovery does with invalidations of paths by unsafe requests: key and number.
pub(crate) type OnInvalidation = Box<dyn Fn(&[u8], &[u8]) + Send>;

/// Opens the segments of earlier processes. Removes files that cannot be used, and the oldest segments if the
/// capacity is smaller than it was. Returns the number for the next segment.
pub(super) fn open_segments(shared: &Shared) -> io::Result<u64> {
    let mut found: Vec<u64> =
        shared.files.list()?.iter().filter_map(|name| segment::sequence_of(name)).collect();
    found.sort_unstable();
    for &sequence in &found {
        let slot = shared.segments.free_slot();
        let opened = slot.map(|slot| Segment::open(&*shared.files, &shared.tier, slot, sequence));
        match opened {
            Some(Ok(Some(segment))) if segment.protection.is_readable() => {
                shared.segments.add(Arc::new(segment));
                continue;
            }
            // A segment whose first block never reached the disk, or one of an earlier tier.
            Some(Ok(None)) | None => {}
            Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            // Its key is missing.
            Some(Ok(Some(_))) => remove_oldest(shared, 0)?,
            Some(Err(error)) => {
                shared.failed("open a segment; it and older ones are removed", &error);
                remove_oldest(shared, 0)?;
            }
        }
        shared.files.remove(&segment::name(sequence))?;
    }
    remove_oldest(shared, shared.options.capacity)?;
    shared.counters.to_recover.set(i64::try_from(shared.segments.len()).unwrap_or(i64::MAX));
    Ok(found.last().map_or(0, |last| last.saturating_add(1)))
}

/// Removes the oldest segments until the others take at most `bytes`. Of segments that cannot be read, all older ones
/// are removed: the unreadable one may have newer versions of their records.
fn remove_oldest(shared: &Shared, bytes: u64) -> io::Result<()> {
    while shared.segments.bytes() > bytes {
        let Some(oldest) = shared.segments.oldest() else { break };
        shared.remove(&oldest)?;
    }
    Ok(())
}

/// Adds the records of all segments to the index.
pub(super) fn recover(
    shared: &Shared,
    segments: Vec<Arc<Segment>>,
    on_invalidation: &OnInvalidation,
) {
    let mut segments = segments.into_iter();
    while let Some(segment) = segments.next() {
        if shared.queue.is_closed() {
            return;
        }
        let Err(error) = recover_segment(shared, &segment, on_invalidation) else {
            shared.counters.to_recover.dec();
            continue;
        };
        if segment.is_retired() {
            continue;
        }
        // Older segments may have versions that this one replaced.
        shared.failed("read a segment; it and older ones are removed", &error);
        for unusable in std::iter::once(segment).chain(segments.by_ref()) {
            unusable.retire();
            if let Err(error) = shared.remove(&unusable) {
                shared.failed("remove a segment", &error);
            }
        }
    }
    shared.counters.to_recover.set(0);
    shared.index.recovered();
}

fn recover_segment(
    shared: &Shared,
    segment: &Segment,
    on_invalidation: &OnInvalidation,
) -> io::Result<()> {
    let entries = match segment.footer()? {
        Some(entries) => entries,
        None => {
            let (entries, end) = segment.scan()?;
            // Sealed as it is: nothing is ever appended to the segment of another process.
            if end + sealing(entries.len()) <= segment.length {
                // Without a footer it is scanned again at the next start.
                let _ = segment.seal(end, &entries);
            }
            entries
        }
    };
    for entry in entries.iter().rev() {
        match (entry.kind, entry.place(segment.slot)) {
            (Kind::Forget, _) => shared.index.shadow(entry.digest),
            (Kind::Invalidation, Some(place)) => {
                if let Ok(loaded) = segment.record(place) {
                    on_invalidation(&loaded.key, &loaded.description);
                }
            }
            (_, Some(place)) => shared.index.recover(entry.digest, place, segment),
            (_, None) => {}
        }
    }
    Ok(())
}
