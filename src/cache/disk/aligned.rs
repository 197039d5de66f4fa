//! Buffers whose address suits `O_DIRECT`.

use super::layout::BLOCK;

/// A buffer that begins at a multiple of [`BLOCK`].
#[derive(Debug, Default)]
pub(super) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// An empty buffer with room for `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Self {
        let memory = vec![0; capacity + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { memory, start, length: 0 }
    }

    /// A buffer of `length` zeros.
    pub(super) fn zeroed(length: usize) -> Self {
        Self { length, ..Self::new(length) }
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let end = self.start + self.length + bytes.len();
        if end > self.memory.len() {
            let mut larger = Self::new((self.length + bytes.len()).next_power_of_two());
            larger.append(self.bytes());
            *self = larger;
        }
        let from = self.start + self.length;
        self.memory[from..from + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Appends zeros up to a multiple of `unit`.
    pub(super) fn pad(&mut self, unit: usize) {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let missing = self.length.next_multiple_of(unit) - self.length;
        self.append(&ZEROS[..missing]);
    }

    /// Removes all bytes and keeps the memory.
    pub(super) const fn clear(&mut self) {
        self.length = 0;
    }

    /// Bytes that fit without another allocation.
    pub(super) const fn room(&self) -> usize {
        self.memory.len() - self.start
    }

    /// Sets the length, up to the room. Bytes that are added are not cleared.
    pub(super) fn set_length(&mut self, length: usize) {
        self.length = length.min(self.room());
    }

    pub(super) const fn len(&self) -> usize {
        self.length
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_aligned_while_it_grows() {
        let mut buffer = AlignedBuffer::new(100);
        let mut expected = Vec::new();
        for n in 0..200_u8 {
            buffer.append(&[n; 77]);
            expected.extend_from_slice(&[n; 77]);
            assert_eq!(buffer.bytes().as_ptr().align_offset(BLOCK), 0);
        }
        buffer.pad(BLOCK);
        assert_eq!(buffer.len(), 4 * BLOCK);
        assert_eq!(&buffer.bytes()[..expected.len()], expected);
        assert!(buffer.bytes()[expected.len()..].iter().all(|byte| *byte == 0));
        buffer.clear();
        buffer.append(b"next");
        assert_eq!(buffer.bytes(), b"next");
    }
}
