//! The memory that slow viewers may occupy.
//!
//! Stored bytes that a response still needs stay in memory after their eviction. Up to a share of the memory
//! they are *pinned*. Beyond it, readers copy a small part at a time and let go of the rest.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Store,
    content::Content,
    ledger::{Charge, with},
    pins::{Pin, Pinnable},
    receive::to_usize,
    response::StoredResponse,
};

/// The fraction of the memory that pinned bytes may take: half of the headroom.
const PINNED_FRACTION: u64 = 16;

/// The fraction of the memory that a reader copies at a time, within these bounds in bytes.
const PART_FRACTION: u64 = 1024;
const PART_BYTES: std::ops::RangeInclusive<u64> = 4 << 10..=64 << 10;

/// The fraction of the memory that copies above the minimum length may take.
const COPIED_FRACTION: u64 = 32;

/// Bytes of `memory` that may be pinned.
pub(super) const fn pinned_share(memory: u64) -> u64 {
    memory / PINNED_FRACTION
}

/// Bytes of `memory` that copies may take.
pub(super) const fn copied_share(memory: u64) -> u64 {
    memory / COPIED_FRACTION
}

/// The right to keep a whole content in memory until its viewer has received it.
#[derive(Clone, Debug)]
pub struct Hold(Option<Arc<Pin>>);

impl Hold {
    /// `bytes` of the content, which is held while they are in use.
    #[must_use]
    pub fn of(&self, bytes: Bytes) -> Bytes {
        match &self.0 {
            Some(pin) => with(bytes, Arc::clone(pin)),
            None => bytes,
        }
    }
}

impl Store {
    /// The right to hold the content of `response`, which is one piece or will be. `None` if too much is held
    /// already and the viewer can be served without it: by a `Reader`, which reads it in
    /// parts, or without compression.
    #[must_use]
    pub fn hold(&self, response: &StoredResponse) -> Option<Hold> {
        // A copy of a part would take as much.
        if response.length() <= self.part_length() {
            return Some(Hold(None));
        }
        match self.pin(&response.content) {
            Some(pin) => Some(Hold(Some(pin))),
            None if response.encoded || self.can_read_in_parts(response) => None,
            None => Some(Hold(None)),
        }
    }

    /// A response for later readers. It has the right to hold its content if that is one piece, or no
    /// content if viewers hold too much.
    #[must_use]
    pub fn keep(&self, response: Arc<StoredResponse>) -> (Arc<StoredResponse>, Option<Hold>) {
        if !self.layout(&response.content).is_single() {
            return (response, None);
        }
        match self.hold(&response) {
            None if self.can_read_in_parts(&response) => {
                (Arc::new(response.without_content()), None)
            }
            hold => (response, hold),
        }
    }

    /// Whether the content of `response` can be fetched again in parts. Content above the size of a slice
    /// was fetched from an origin that may not support ranges: each part could cost a full fetch.
    pub(super) fn can_read_in_parts(&self, response: &StoredResponse) -> bool {
        response.can_be_fetched_again() && response.length() <= u64::from(self.options.slice)
    }

    /// Pins a slice of `content`.
    pub(super) fn pin_slice(&self, content: &Content, slice: &[u8]) -> Option<Arc<Pin>> {
        if self.layout(content).is_single() {
            return self.pin(content);
        }
        self.pins.pin_slice(slice)
    }

    fn pin(&self, content: &Content) -> Option<Arc<Pin>> {
        self.pins.pin(Pinnable::Content(content.id), content.length)
    }

    /// Bytes that a reader copies at a time.
    pub(super) fn part_length(&self) -> u64 {
        let part = self.options.memory / PART_FRACTION;
        part.clamp(*PART_BYTES.start(), *PART_BYTES.end())
    }

    /// Bytes of a slice for a reader: pinned, or a copy of their beginning.
    pub(super) fn lend(&self, slice: &Bytes, bytes: Bytes) -> Bytes {
        match self.pins.pin_slice(slice) {
            Some(pin) => with(bytes, pin),
            None => self.copy(&bytes),
        }
    }

    /// The length of the next part, and its reservation in the share of copies. Without a reservation the
    /// part is short.
    pub(super) fn next_part(&self) -> (u64, Option<Charge>) {
        let length = self.part_length();
        match self.copies.charge(length) {
            Some(charge) => (length, Some(charge)),
            None => (*PART_BYTES.start(), None),
        }
    }

    /// A copy of the beginning of `bytes`, which counts as memory in use. Without room it is short.
    pub(super) fn copy(&self, bytes: &[u8]) -> Bytes {
        let (length, share) = self.next_part();
        let part = &bytes[..bytes.len().min(to_usize(length))];
        match self.memory.charge(part.len() as u64) {
            Some(charge) => with(part.to_vec(), (share, charge)),
            None => Bytes::copy_from_slice(&part[..part.len().min(to_usize(*PART_BYTES.start()))]),
        }
    }
}
