//! Sizes of the format on disk, and reading numbers from bytes.

use super::checksum::checksum;

/// The version of everything below. A folder of another version is emptied.
pub(crate) const FORMAT: u32 = 3;

/// The unit of reads and writes with `O_DIRECT`, in bytes.
pub(super) const BLOCK: usize = 4096;

/// Records begin at multiples of this many bytes.
pub(super) const UNIT: usize = 64;

/// Takes numbers and bytes from the front of a slice.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// Takes the checksum of everything before it in `whole`. `None` if it is wrong.
    pub(crate) fn verify(&mut self, whole: &[u8]) -> Option<()> {
        let covered = whole.len() - self.0.len();
        (self.u64()? == checksum(&whole[..covered])).then_some(())
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        self.0.split_off(..length)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.first_chunk().copied()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.0.split_off_first().copied()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
