//! The place of a record on disk, in eight bytes.

use std::num::NonZeroU64;

use super::layout::{BLOCK, UNIT};

/// Segment, offset, number of blocks to read, and how often the record was read. There are millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(NonZeroU64);

/// Bits of the fields, from the lowest.
const BLOCKS: u32 = 16;
const OFFSET: u32 = 24;
const SLOT: u32 = 16;

/// The number of reads that is counted.
const MAX_READS: u64 = 3;

/// The longest segment, in bytes: offsets are counted in units.
pub(super) const MAX_SEGMENT: u64 = (UNIT as u64) << OFFSET;

impl Place {
    /// The place of a record of `length` bytes at `offset` in the segment of `slot`. `None` if the numbers are
    /// too large for it.
    pub(super) fn new(slot: u16, offset: u64, length: usize) -> Option<Self> {
        let begins = offset / BLOCK as u64;
        let blocks = (offset + length as u64).div_ceil(BLOCK as u64) - begins;
        let units = offset / UNIT as u64;
        if blocks == 0 || blocks >> BLOCKS != 0 || units >> OFFSET != 0 {
            return None;
        }
        let bits = u64::from(slot) << (BLOCKS + OFFSET) | units << BLOCKS | blocks;
        NonZeroU64::new(bits).map(Self)
    }

    const fn field(self, from: u32, bits: u32) -> u64 {
        (self.0.get() >> from) & ((1 << bits) - 1)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the field has 16 bits")]
    pub(super) const fn slot(self) -> u16 {
        self.field(BLOCKS + OFFSET, SLOT) as u16
    }

    /// The offset of the record in its segment.
    pub(super) const fn offset(self) -> u64 {
        self.field(BLOCKS, OFFSET) * UNIT as u64
    }

    /// The first block of the record, as an offset in its segment.
    pub(super) const fn start(self) -> u64 {
        self.offset() / BLOCK as u64 * BLOCK as u64
    }

    /// Bytes of all blocks of the record.
    #[expect(clippy::cast_possible_truncation, reason = "at most 256 MiB")]
    pub(crate) const fn length(self) -> usize {
        self.field(0, BLOCKS) as usize * BLOCK
    }

    /// How often the record was read, up to three times.
    pub(crate) const fn reads(self) -> u64 {
        self.0.get() >> (BLOCKS + OFFSET + SLOT)
    }

    /// The same place, read once more.
    pub(super) const fn read_again(self) -> Self {
        if self.reads() == MAX_READS {
            return self;
        }
        Self(self.0.saturating_add(1 << (BLOCKS + OFFSET + SLOT)))
    }

    /// Whether both are the same place, regardless of reads.
    pub(super) const fn is_at(self, other: Self) -> bool {
        const PLACE: u64 = (1 << (BLOCKS + OFFSET + SLOT)) - 1;
        (self.0.get() ^ other.0.get()) & PLACE == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_disturb_each_other() {
        assert_eq!(size_of::<Option<Place>>(), 8);
        for (slot, offset, length) in [
            (0, 4096, 64),
            (u16::MAX, MAX_SEGMENT - 64, 64),
            (7, 4096 + 64, 1 << 20),
            (0x5555, 8128, 128),
            (1, 0, 128 << 20),
        ] {
            let place = Place::new(slot, offset, length).expect("fits");
            let read = place.read_again().read_again();
            for (place, reads) in [(place, 0), (read, 2), (read.read_again().read_again(), 3)] {
                assert_eq!((place.slot(), place.offset(), place.reads()), (slot, offset, reads));
                assert!(place.start() <= offset && place.start() % 4096 == 0);
                assert!(place.start() + place.length() as u64 >= offset + length as u64);
                assert!(place.length() < length + 2 * BLOCK);
            }
            assert!(place.is_at(read) && place != read);
        }
        assert_eq!(Place::new(0, MAX_SEGMENT, 64), None);
        assert_eq!(Place::new(0, 0, 300 << 20), None);
    }
}
