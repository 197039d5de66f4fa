//! Reading what earlier processes wrote.
//!
//! Opening the segments takes a block each and happens before anything is served. Their records get into the
//! index afterwards, newest segment first. Until a record is in the index, it is a miss.

use std::{io, sync::Arc};

use rustix::io::Errno;

use super::{
    record::Kind,
    segment::{self, Segment, sealing},
    shared::Shared,
};

/// How many records ahead the index is prefetched.
const AHEAD: usize = 16;

/// What recovery does with invalidations of paths by unsafe requests: key and description.
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
            Some(Ok(Some(_))) => {
                let file = segment::name(sequence);
                tracing::warn!(
                    file,
                    "a file of the disk cache is encrypted with a key that is not configured; it and older ones are removed"
                );
                remove_oldest(shared, 0)?;
            }
            Some(Err(error)) if is_damage(&error) => {
                let file = segment::name(sequence);
                tracing::error!(file, %error, "a file of the disk cache cannot be used; it and older ones are removed");
                remove_oldest(shared, 0)?;
            }
            // Too many open files, or no permission: that can be changed.
            Some(Err(error)) => return Err(error),
        }
        shared.files.remove(&segment::name(sequence))?;
    }
    remove_oldest(shared, shared.options.capacity)?;
    shared.counters.to_recover.set(i64::try_from(shared.segments.len()).unwrap_or(i64::MAX));
    Ok(found.last().map_or(0, |last| last.saturating_add(1)))
}

/// Whether an error says that the device or a file is damaged.
fn is_damage(error: &io::Error) -> bool {
    const DAMAGE: [Errno; 3] = [Errno::IO, Errno::UCLEAN, Errno::BADMSG];
    let number = Errno::from_io_error(error);
    error.kind() == io::ErrorKind::InvalidData || number.is_some_and(|it| DAMAGE.contains(&it))
}

/// Removes the oldest segments until the others take at most `bytes`. If a segment cannot be read, all older ones are
/// removed, too: it may have had newer versions of their records.
fn remove_oldest(shared: &Shared, bytes: u64) -> io::Result<()> {
    while shared.segments.bytes() > bytes {
        let Some(oldest) = shared.segments.oldest() else { break };
        shared.remove(&oldest)?;
    }
    Ok(())
}

/// Adds the records of all segments to the index.
///
/// `slots` are those of the segments, newest first, whose numbers are below `next`. The segments are not held, so that
/// one that is evicted meanwhile gives its space back at once.
pub(super) fn recover(shared: &Shared, slots: &[u16], next: u64, on_invalidation: &OnInvalidation) {
    let find = |slot: &u16| shared.segments.get(*slot).filter(|segment| segment.sequence < next);
    let mut slots = slots.iter();
    while let Some(slot) = slots.next() {
        if shared.queue.is_closed() {
            return;
        }
        let Some(segment) = find(slot) else {
            shared.counters.to_recover.dec();
            continue;
        };
        let Err(error) = recover_segment(shared, &segment, on_invalidation) else {
            shared.counters.to_recover.dec();
            continue;
        };
        if segment.is_retired() {
            continue;
        }
        // Older segments may have versions that this one replaced.
        shared.failed("read a segment; it and older ones are removed", &error);
        for unusable in std::iter::once(segment).chain(slots.by_ref().filter_map(find)) {
            unusable.retire();
            shared.remove_or_abandon(&unusable);
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
            if end + sealing(entries.len()) <= segment.length() && !segment.is_retired() {
                // Without a footer it is scanned again at the next start.
                let _ = shared.seal(segment, end, &entries);
            }
            entries
        }
    };
    for (at, entry) in entries.iter().enumerate().rev() {
        // Of millions of places, few are in a CPU cache.
        if let Some(next) = at.checked_sub(AHEAD) {
            shared.index.prefetch(entries[next].digest);
        }
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
