//! Memory for reads, which is used again: the system clears the pages of new memory, and that takes longer than the
//! read.

use bytes::Bytes;
use parking_lot::Mutex;

use super::aligned::AlignedBuffer;

/// Shorter buffers are left to the allocator, in bytes.
const LEAST: usize = 16 << 10;

/// Bytes of free buffers that are kept.
const MOST: usize = 16 << 20;

/// Free buffers, the most recently used last.
static FREE: Mutex<Vec<AlignedBuffer>> = Mutex::new(Vec::new());

/// A buffer for whole blocks, aligned for `O_DIRECT`.
#[derive(Debug)]
pub(super) struct ReadBuffer(AlignedBuffer);

impl ReadBuffer {
    /// A buffer of `length` bytes, whose content is arbitrary.
    pub(super) fn new(length: usize) -> Self {
        if length < LEAST {
            return Self(AlignedBuffer::zeroed(length));
        }
        let mut free = FREE.lock();
        let fits = |buffer: &AlignedBuffer| (length..=length + length / 8).contains(&buffer.room());
        let found = free.iter().rposition(fits).map(|place| free.remove(place));
        drop(free);
        let mut buffer = found.unwrap_or_else(|| AlignedBuffer::zeroed(length));
        buffer.set_length(length);
        Self(buffer)
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    /// The bytes, shared. The buffer is free again when the last of them is dropped.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if !(LEAST..=MOST).contains(&buffer.room()) {
            return;
        }
        let mut free = FREE.lock();
        free.push(buffer);
        let mut kept = 0;
        // The oldest go, outside the lock.
        let first = free.iter().rposition(|buffer| {
            kept += buffer.room();
            kept > MOST
        });
        let oldest: Vec<AlignedBuffer> = free.drain(..first.map_or(0, |place| place + 1)).collect();
        drop(free);
        drop(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests of one process share the free buffers, so lengths are unusual here.
    #[test]
    fn a_dropped_buffer_is_used_again() {
        let length = 3_333 << 10;
        let mut buffer = ReadBuffer::new(length);
        buffer.bytes_mut().fill(7);
        let place = buffer.bytes().as_ptr();
        let bytes = buffer.freeze();
        let part = bytes.slice(100..200);
        drop(bytes);
        assert_ne!(ReadBuffer::new(length).bytes().as_ptr(), place, "a part is in use");
        assert_eq!(part, vec![7; 100]);
        drop(part);
        let again = [ReadBuffer::new(length), ReadBuffer::new(length - 1000)];
        assert!(again.iter().any(|buffer| buffer.bytes().as_ptr() == place));
        assert_eq!(again[1].len(), length - 1000);
        assert!(again.iter().all(|buffer| buffer.bytes().as_ptr().align_offset(4096) == 0));
    }

    #[test]
    fn few_are_kept() {
        let buffers: Vec<ReadBuffer> = (0..100).map(|_| ReadBuffer::new(1 << 20)).collect();
        drop(buffers);
        drop(ReadBuffer::new(MOST + 1));
        let kept: usize = FREE.lock().iter().map(AlignedBuffer::room).sum();
        assert!(kept <= MOST, "{kept} bytes");
    }
}
