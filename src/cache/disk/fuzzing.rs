//! What fuzz targets need of the disk cache.

use std::{io, sync::Arc};

use super::{
    files::BlockFile, layout::BLOCK, protection::Protection, record::Loaded, segment::Segment,
};

/// A file in memory.
#[derive(Debug)]
struct Memory(Vec<u8>);

impl BlockFile for Memory {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let length = buffer.len().min(self.0.len() - offset);
        buffer[..length].copy_from_slice(&self.0[offset..offset + length]);
        Ok(length)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// Reads bytes like segment 1 of another process: the list of its records, and each of them. Returns the records,
/// and how many are listed.
pub(crate) fn read_segment(bytes: &[u8]) -> (Vec<Loaded>, usize) {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK).max(2 * BLOCK), 0);
    let length = bytes.len() as u64;
    let segment = Segment::new(0, 1, length, Arc::new(Memory(bytes)), Protection::Checksum);
    let entries = segment.entries().unwrap_or_default();
    let places = entries.iter().filter_map(|entry| entry.place(segment.slot));
    (places.filter_map(|place| segment.record(place).ok()).collect(), entries.len())
}
