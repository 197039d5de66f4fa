//! The memory that viewers may keep occupied by receiving slowly.
//!
//! Stored bytes that a response still needs stay in memory after their eviction. Up to a share of the memory
//! they are *pinned*. Beyond it, readers copy a small part at a time and let go of the rest.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Store,
    content::Content,
    pins::{Pin, with_pin},
    response::StoredResponse,
};

/// The share of the memory that may be pinned: half of what is kept free of stored bytes.
const SHARE: u64 = 16;

/// The share of the memory that a reader copies at a time, within these bounds in bytes.
const PART: u64 = 1024;
const PART_BYTES: std::ops::RangeInclusive<u64> = 4 << 10..=64 << 10;

/// Bytes of `memory` that may be pinned.
pub(super) const fn share(memory: u64) -> u64 {
    memory / SHARE
}

/// The right to keep a whole content in memory until its viewer has received it.
#[derive(Clone, Debug)]
pub struct Hold(Option<Arc<Pin>>);

impl Hold {
    /// `bytes` of the content, which is held while they are in use.
    #[must_use]
    pub fn of(&self, bytes: Bytes) -> Bytes {
        match &self.0 {
            Some(pin) => with_pin(bytes, Arc::clone(pin)),
            None => bytes,
        }
    }
}

impl Store {
    /// The right to hold the content of `response`, which is one piece or will be. `None` if too much is held
    /// already: then a [`Reader`](super::Reader) reads it in parts.
    #[must_use]
    pub fn hold(&self, response: &StoredResponse) -> Option<Hold> {
        // A copy of a part would take as much.
        if response.length <= self.part() as u64 {
            return Some(Hold(None));
        }
        match self.pin(&response.content) {
            Some(pin) => Some(Hold(Some(pin))),
            None if response.can_be_read_again() => None,
            None => Some(Hold(None)),
        }
    }

    /// Whether `bytes` more may be held.
    #[must_use]
    pub fn may_hold(&self, bytes: u64) -> bool {
        bytes <= self.part() as u64 || !self.pins.is_full_for(bytes)
    }

    /// Bytes that a reader copies at a time.
    pub(super) fn part(&self) -> usize {
        let part = (self.options.memory / PART).clamp(*PART_BYTES.start(), *PART_BYTES.end());
        usize::try_from(part).unwrap_or(usize::MAX)
    }

    /// Pins a slice of `content`.
    pub(super) fn pin_slice(&self, content: &Content, slice: &[u8]) -> Option<Arc<Pin>> {
        if self.layout(content).is_single() {
            return self.pin(content);
        }
        self.pins.pin(slice.as_ptr() as usize, slice.len() as u64)
    }

    fn pin(&self, content: &Content) -> Option<Arc<Pin>> {
        self.pins.pin(std::ptr::from_ref(content) as usize, content.length)
    }

    /// Bytes of a slice for a reader: pinned, or a copy of their beginning.
    pub(super) fn lend(&self, slice: &Bytes, bytes: Bytes) -> Bytes {
        match self.pins.pin(slice.as_ptr() as usize, slice.len() as u64) {
            Some(pin) => with_pin(bytes, pin),
            None => self.copy(&bytes),
        }
    }

    /// A copy of the beginning of `bytes`.
    pub(super) fn copy(&self, bytes: &[u8]) -> Bytes {
        self.memory.copy(bytes, self.part())
    }
}
