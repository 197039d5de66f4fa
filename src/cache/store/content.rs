//! Content: the bytes of a representation, as one piece or in slices.

use std::{
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::ledger::Held;
use crate::cache::prefetch;

/// Identifies a content. The upper 16 bits are the store's epoch, so no id is used twice, even after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentId(pub(super) u64);

/// Hands out the ids of one epoch.
#[derive(Debug)]
pub(super) struct ContentIds(AtomicU64);

impl ContentIds {
    pub(super) const fn new(epoch: u16) -> Self {
        Self(AtomicU64::new((epoch as u64) << 48))
    }

    pub(super) fn next(&self) -> ContentId {
        ContentId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// The bytes of one version of one representation.
///
/// Slices belong to a content, not to a key: bytes of two versions can never be joined.
#[derive(Debug)]
pub struct Content {
    pub(super) id: ContentId,
    /// Length of the whole, in bytes.
    pub length: u64,
    /// The bytes, if they are stored as one piece. Kept here so that one lookup serves them.
    whole: OnceLock<Held>,
}

impl Content {
    /// A content of `length` bytes, none of which has arrived.
    pub(super) const fn new(id: ContentId, length: u64) -> Self {
        Self { id, length, whole: OnceLock::new() }
    }

    /// The same content without its bytes.
    pub(super) const fn released(&self) -> Self {
        Self { id: self.id, length: self.length, whole: OnceLock::new() }
    }

    /// A content that an earlier process named, or this one before its bytes left the memory.
    pub(super) const fn known(id: u64, length: u64) -> Self {
        Self::new(ContentId(id), length)
    }

    /// A content whose bytes are complete.
    pub(super) fn complete(id: ContentId, bytes: Bytes) -> Self {
        Self::of(id, Held::Shared(Box::new(bytes)))
    }

    /// The content whose only piece is `held`.
    pub(super) fn of(id: ContentId, held: Held) -> Self {
        let content = Self::new(id, held.as_ref().len() as u64);
        content.fill(held);
        content
    }

    /// Sets the content's only piece.
    pub(super) fn fill(&self, held: Held) {
        let _ = self.whole.set(held);
    }

    /// The content's identity.
    #[must_use]
    pub const fn id(&self) -> ContentId {
        self.id
    }

    /// The bytes, if all of them are present as one piece.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        self.whole.get().map(Held::as_ref)
    }

    /// Prefetches the beginning of the bytes, because they will be sent.
    pub fn prefetch(&self) {
        if let Some(bytes) = self.bytes() {
            prefetch::load(bytes);
        }
    }

    /// The same bytes, as an owned reference.
    #[must_use]
    pub fn whole(self: &Arc<Self>) -> Option<Bytes> {
        Some(match self.whole.get()? {
            Held::Counted(_) => Bytes::from_owner(Shared(Arc::clone(self))),
            Held::Shared(bytes) => Bytes::clone(bytes),
        })
    }

    /// The content's layout, if slices are `slice` bytes long.
    pub(super) fn layout(&self, slice: u32) -> Layout {
        let slice = if self.whole.get().is_some() { u32::MAX } else { slice };
        Layout { length: self.length, slice }
    }
}

/// A content as the owner of bytes.
struct Shared(Arc<Content>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes().unwrap_or_default()
    }
}

/// The division of a content into slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    length: u64,
    slice: u32,
}

impl Layout {
    /// Whether one slice holds all of it.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        self.length <= self.slice as u64
    }

    /// The slice that holds the byte at `position`.
    #[must_use]
    pub fn slice_at(&self, position: u64) -> u32 {
        u32::try_from(position / u64::from(self.slice)).unwrap_or(u32::MAX)
    }

    /// The slices that hold `bytes`.
    #[must_use]
    pub fn slices_of(&self, bytes: &Range<u64>) -> Range<u32> {
        match bytes.end.checked_sub(1) {
            Some(last) if !bytes.is_empty() => self.slice_at(bytes.start)..self.slice_at(last) + 1,
            _ => 0..0,
        }
    }

    /// The bytes that `slices` hold.
    #[must_use]
    pub fn bytes_of(&self, slices: &Range<u32>) -> Range<u64> {
        let at = |index: u32| (u64::from(index) * u64::from(self.slice)).min(self.length);
        at(slices.start)..at(slices.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are millions of them: together with its two counters it fits into 64 bytes.
    #[test]
    fn a_content_is_small() {
        let counters = 2 * size_of::<usize>();
        assert!(size_of::<Content>() + counters <= 64, "{}", size_of::<Content>());
    }

    #[test]
    fn slices_cover_the_content_without_gap_or_overlap() {
        let layout = Content::new(ContentId(0), 2500).layout(1000);
        assert_eq!(layout.slices_of(&(0..2500)), 0..3);
        assert_eq!(layout.slices_of(&(999..1001)), 0..2);
        assert_eq!(layout.slices_of(&(1000..2000)), 1..2);
        assert_eq!(layout.slices_of(&(0..0)), 0..0);
        assert_eq!(layout.bytes_of(&(2..3)), 2000..2500);
        assert_eq!(layout.bytes_of(&(0..3)), 0..2500);
        assert!(!layout.is_single());
        assert!(Content::new(ContentId(0), 1000).layout(1000).is_single());
    }

    #[test]
    fn what_is_there_as_one_piece_is_one_slice_however_long() {
        let content = Arc::new(Content::complete(ContentId(0), Bytes::from(vec![7; 2500])));
        assert!(content.layout(1000).is_single());
        assert_eq!(content.bytes(), Some(&[7; 2500][..]));
        assert_eq!(content.whole().as_deref(), content.bytes());
    }
}
