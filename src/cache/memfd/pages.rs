//! Pieces of content, in the memory file or on the heap.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::mapped::Mapped;

/// A piece of content that is being written.
#[derive(Debug)]
pub struct ArrivingPages {
    extent: Extent,
    /// Bytes so far.
    written: usize,
}

impl ArrivingPages {
    /// A piece of `length` bytes. `None` if the file has no extent for it.
    pub(super) fn new(mapped: &Arc<Mapped>, length: usize) -> Option<Self> {
        let start = mapped.extents.take(length)?;
        Some(Self { extent: Extent { mapped: Arc::clone(mapped), start, length }, written: 0 })
    }

    /// Appends a chunk.
    ///
    /// # Errors
    /// If the system has no memory for it, or it is too long.
    pub fn append(&mut self, mut chunk: &[u8]) -> io::Result<()> {
        if chunk.len() > self.extent.length - self.written {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        while !chunk.is_empty() {
            let offset = (self.extent.start + self.written) as u64;
            let written = rustix::io::pwrite(&self.extent.mapped.extents.file, chunk, offset)?;
            self.written += written;
            chunk = &chunk[written..];
        }
        Ok(())
    }

    /// The piece, if all of it has arrived.
    #[must_use]
    pub fn finish(self) -> Option<Pages> {
        let is_complete = self.written == self.extent.length;
        is_complete.then(|| Pages(Allocation::Placed(self.extent)))
    }
}

/// One piece of content.
#[derive(Debug)]
pub struct Pages(Allocation);

impl Pages {
    /// A copy of `chunks` on the heap.
    #[must_use]
    pub fn on_heap(chunks: &[Bytes]) -> Self {
        Self(Allocation::Heap(chunks.concat().into()))
    }

    /// The bytes, if they are on the heap.
    ///
    /// # Errors
    /// The pages, if they are not on the heap.
    pub fn into_heap(self) -> Result<Box<[u8]>, Self> {
        match self.0 {
            Allocation::Heap(bytes) => Ok(bytes),
            placed @ Allocation::Placed(_) => Err(Self(placed)),
        }
    }
}

#[derive(Debug)]
enum Allocation {
    Heap(Box<[u8]>),
    Placed(Extent),
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Allocation::Heap(bytes) => bytes,
            Allocation::Placed(place) => place.bytes(),
        }
    }
}

/// An allocated extent of the file. Dropping it returns its pages to the system.
#[derive(Debug)]
struct Extent {
    mapped: Arc<Mapped>,
    start: usize,
    length: usize,
}

impl Extent {
    /// The bytes of a filled extent.
    fn bytes(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "content is read in place, without a copy")]
        // SAFETY: `start` and `length` are within the map, which lives as long as `mapped`, and the file is
        // sealed against truncation. Only `ArrivingPages` writes to an extent, before it hands the extent out, and
        // it is emptied after `Drop`, when no reference is left. No other extent overlaps this one.
        unsafe {
            std::slice::from_raw_parts(self.mapped.map.as_ptr().add(self.start), self.length)
        }
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        self.mapped.extents.give_back(self.start, self.length);
    }
}
