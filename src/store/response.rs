//! A stored response: the head that answers are made from, and the content it describes.

use std::{
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use parking_lot::Mutex;

use super::{
    fields::FieldBlock,
    purge::{CacheTags, LogPosition, Tag},
    run::Run,
};
use crate::{
    clock::Timestamp,
    encode,
    policy::Freshness,
    semantics::{coding::Coding, conditional::Validators, date, entity_tag::EntityTag},
};

/// RFC 9111 §3.2: fields that a 304 does not change, for they describe the stored bytes.
const NOT_UPDATED: [HeaderName; 5] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-md5"),
    header::CONTENT_RANGE,
    header::ETAG,
];

/// A response as the store keeps it. Immutable: a 304 makes a new one over the same content.
#[derive(Debug)]
pub struct StoredResponse {
    /// Tells it apart from all others; never used twice in one process.
    pub serial: u64,
    /// Its status code; 200 where the origin answered 206.
    pub status: StatusCode,
    /// Its fields, without those that belong to one answer (`Content-Length`, `Content-Range`,
    /// `Age`) or one connection.
    pub fields: FieldBlock,
    /// When it arrived and until when it is fresh.
    pub freshness: Freshness,
    /// Whether its compressed form may be worth having.
    pub compressible: bool,
    /// Whether this is the compressed form of another.
    pub encoded: bool,
    /// Whether a page of our own stands in for its content.
    pub own_page: bool,
    /// The representation's bytes.
    pub content: Arc<Content>,
    /// The cache tags it bears.
    pub tags: CacheTags,
    /// Where the purge log stood when the request to the origin started.
    pub(super) born: LogPosition,
    /// Up to where the purge log is known not to touch this response.
    pub(super) checked: AtomicU64,
}

impl StoredResponse {
    /// A response over `content`, from a request to the origin that started at `born`.
    #[must_use]
    pub fn new(
        status: StatusCode,
        fields: &HeaderMap,
        freshness: Freshness,
        content: Arc<Content>,
        born: LogPosition,
    ) -> Self {
        Self {
            serial: next_serial(),
            status,
            fields: FieldBlock::pack(fields),
            freshness,
            compressible: encode::is_worth_it(status, fields, content.length),
            encoded: false,
            own_page: false,
            tags: CacheTags::default(),
            content,
            born,
            checked: AtomicU64::new(born.0),
        }
    }

    /// RFC 9111 §4.3.4: the stored fields, with those of a 304 in their place.
    #[must_use]
    pub fn updated_fields(&self, update: &HeaderMap) -> HeaderMap {
        let mut fields = self.fields.to_map();
        // The age was that of the message, not of what is stored.
        fields.remove(header::AGE);
        for name in update.keys() {
            if NOT_UPDATED.contains(name) {
                continue;
            }
            fields.remove(name);
            for value in update.get_all(name) {
                fields.append(name, value.clone());
            }
        }
        fields
    }

    /// The same response, stale, for whose validation the origin is not asked again before
    /// `retry_at`.
    #[must_use]
    pub fn waiting(&self, retry_at: Timestamp) -> Self {
        let mut freshness = self.freshness;
        freshness.stale.retry_at = retry_at;
        Self { freshness, ..self.copy() }
    }

    /// The same response, stale, as a soft purge at `position` leaves it.
    pub(super) fn expired(&self, position: LogPosition) -> Self {
        let mut freshness = self.freshness;
        freshness.fresh_until = freshness.received_at;
        freshness.stale.while_revalidate = 0;
        freshness.stale.retry_at = Timestamp::default();
        Self { freshness, born: position, checked: AtomicU64::new(position.0), ..self.copy() }
    }

    /// The compressed form of this response, whose bytes are `content`.
    pub(super) fn encoded(&self, coding: Coding, content: Arc<Content>) -> Self {
        let mut fields = self.fields.to_map();
        encode::describe(&mut fields, coding);
        let fields = FieldBlock::pack(&fields);
        Self { fields, content, compressible: false, encoded: true, ..self.copy() }
    }

    fn copy(&self) -> Self {
        Self {
            serial: next_serial(),
            status: self.status,
            fields: self.fields.clone(),
            freshness: self.freshness,
            compressible: self.compressible,
            encoded: self.encoded,
            own_page: self.own_page,
            tags: self.tags.clone(),
            content: Arc::clone(&self.content),
            born: self.born,
            checked: AtomicU64::new(self.checked.load(Ordering::Relaxed)),
        }
    }

    /// Gives the stored validators to `read`.
    pub fn with_validators<T>(&self, read: impl FnOnce(&Validators<'_>) -> T) -> T {
        let (etag, modified) = (header::ETAG, header::LAST_MODIFIED);
        read(&Validators::read(self.fields.value(&etag), self.fields.value(&modified)))
    }

    /// Whether slices of different origin responses can be told to be of one version: by a
    /// strong entity tag, or by a modification date that is strong (RFC 9110 §8.8.2.2).
    #[must_use]
    pub fn is_sliceable(fields: &HeaderMap) -> bool {
        let etag = fields.get(header::ETAG).and_then(|value| EntityTag::parse(value.as_bytes()));
        let date = |name| fields.get(name).and_then(|value| date::parse(value.as_bytes()));
        let modified_before = match (date(header::LAST_MODIFIED), date(header::DATE)) {
            (Some(modified), Some(date)) => date.since(modified) >= Duration::from_secs(1),
            _ => false,
        };
        etag.is_some_and(|tag| tag.is_strong()) || modified_before
    }

    /// Whether there is anything to tell versions apart by.
    #[must_use]
    pub fn has_validator(&self) -> bool {
        [header::ETAG, header::LAST_MODIFIED].iter().any(|name| self.fields.value(name).is_some())
    }

    pub(super) fn size(&self) -> usize {
        let in_head = if self.content.is_single() { self.content.length } else { 0 };
        self.fields.len()
            + self.tags.len() * size_of::<Tag>()
            + usize::try_from(in_head).unwrap_or(usize::MAX)
    }

    pub(super) fn checked(&self) -> LogPosition {
        LogPosition(self.checked.load(Ordering::Relaxed))
    }
}

fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Tells contents apart; never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentId(pub(super) u64);

impl ContentId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The bytes of one version of one representation, cut into slices.
///
/// Slices belong to a content, not to a key: bytes of two versions can never be joined.
#[derive(Debug)]
pub struct Content {
    pub(super) id: ContentId,
    /// Length of the whole, in bytes.
    pub length: u64,
    slice: u32,
    /// The only slice of a small content lives here, so that one lookup serves it.
    pub(super) whole: OnceLock<Bytes>,
    /// Origin responses that are filling slices right now.
    pub(super) runs: Mutex<Runs>,
}

/// A list that costs one pointer while it is empty: most contents are never being filled.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "there is one in every stored response")]
pub(super) struct Runs(Option<Box<Vec<Arc<Run>>>>);

impl Runs {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.0.iter().flat_map(|runs| runs.iter())
    }

    pub(super) fn push(&mut self, run: Arc<Run>) {
        self.0.get_or_insert_default().push(run);
    }

    pub(super) fn remove(&mut self, gone: &Arc<Run>) {
        if let Some(runs) = &mut self.0 {
            runs.retain(|run| !Arc::ptr_eq(run, gone));
        }
        self.0 = self.0.take().filter(|runs| !runs.is_empty());
    }
}

impl Content {
    /// A content of `length` bytes, none of which is there yet.
    #[must_use]
    pub fn new(length: u64, slice: u32) -> Self {
        Self {
            id: ContentId::next(),
            length,
            slice,
            whole: OnceLock::new(),
            runs: Mutex::default(),
        }
    }

    /// A content that is there as a whole.
    #[must_use]
    pub fn complete(bytes: Bytes) -> Self {
        let content = Self::new(bytes.len() as u64, u32::MAX);
        let _ = content.whole.set(bytes);
        content
    }

    /// Its identity.
    #[must_use]
    pub const fn id(&self) -> ContentId {
        self.id
    }

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

    /// There are millions of them: together with its two counters each fits into 128 bytes, its content into 96.
    #[test]
    fn what_there_are_many_of_is_small() {
        let counters = 2 * size_of::<usize>();
        assert!(size_of::<StoredResponse>() + counters <= 128, "{}", size_of::<StoredResponse>());
        assert!(size_of::<Content>() + counters <= 96, "{}", size_of::<Content>());
    }

    #[test]
    fn slices_cover_the_content_without_gap_or_overlap() {
        let content = Content::new(2500, 1000);
        assert_eq!(content.slices_of(&(0..2500)), 0..3);
        assert_eq!(content.slices_of(&(999..1001)), 0..2);
        assert_eq!(content.slices_of(&(1000..2000)), 1..2);
        assert_eq!(content.slices_of(&(0..0)), 0..0);
        assert_eq!(content.bytes_of(&(2..3)), 2000..2500);
        assert_eq!(content.bytes_of(&(0..3)), 0..2500);
        assert!(!content.is_single());
        assert!(Content::new(1000, 1000).is_single());
    }
}
