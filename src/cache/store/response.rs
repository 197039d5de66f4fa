//! A stored response: the head of served responses, and the content it describes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode, header};

use super::{
    cache_tags::{CacheTags, Tag},
    content::Content,
    content_state::ContentState,
    fields::FieldBlock,
    purge_mark::PurgeMark,
};
use crate::{
    base::clock::Timestamp,
    cache::{
        memfd::footprint,
        policy::{Freshness, Stale},
        prefetch,
    },
    http::{
        coding::Coding, compression, conditional::Validators, date, entity_tag::EntityTag,
        field_table::FieldTrait,
    },
};

/// A response as the store keeps it. Immutable: a 304 makes a new one over the same content.
#[derive(Debug)]
pub struct StoredResponse {
    /// Identifies the response in this process; its copies for threads have the same number.
    pub serial: u64,
    /// The status code; 200 if the origin sent 206.
    pub status: StatusCode,
    /// The fields, without those that belong to one message (`Content-Length`, `Content-Range`, `Age`) or
    /// one connection.
    pub fields: FieldBlock,
    /// When the response arrived and until when it is fresh.
    pub freshness: Freshness,
    /// Whether compressing the response may be worthwhile.
    pub compressible: bool,
    /// Whether this is the compressed form of another response.
    pub encoded: bool,
    /// Whether the content is an error page that Forebay generated.
    pub synthetic_error: bool,
    /// How much of the response is stored.
    pub content_state: ContentState,
    /// The representation's bytes.
    pub content: Arc<Content>,
    /// The cache tags of the response.
    pub tags: CacheTags,
    /// The purge position when the request to the origin started.
    pub(super) mark: PurgeMark,
    /// The newest version of the purge floors that is known not to affect this response.
    pub(super) checked: AtomicU64,
    /// The turn of the memory tier in which the response's use was last recorded.
    pub(super) noted: AtomicU8,
    /// [`WHOLE`] and [`DISPLACED`].
    flags: AtomicU8,
}

/// The content was seen complete as one piece. It stays so.
const WHOLE: u8 = 1;

/// The index had this response and has it no longer.
const DISPLACED: u8 = 2;

impl StoredResponse {
    /// A response over `content`, from a request to the origin that started at `mark`.
    #[must_use]
    pub fn new(
        status: StatusCode,
        fields: &HeaderMap,
        freshness: Freshness,
        content: Arc<Content>,
        mark: PurgeMark,
    ) -> Self {
        Self {
            serial: next_serial(),
            status,
            fields: FieldBlock::pack(fields),
            freshness,
            compressible: compression::is_worth_it(status, fields, content.length),
            encoded: false,
            synthetic_error: false,
            content_state: ContentState::Full,
            tags: CacheTags::default(),
            content,
            mark,
            checked: AtomicU64::new(0),
            noted: AtomicU8::new(0),
            flags: AtomicU8::new(0),
        }
    }

    /// A response from the disk. `compressible` and what follows it are still to be set.
    pub(super) fn restored(
        status: StatusCode,
        fields: FieldBlock,
        freshness: Freshness,
        content: Arc<Content>,
        mark: PurgeMark,
    ) -> Self {
        let empty = Self::new(status, &HeaderMap::new(), freshness, content, mark);
        Self { fields, compressible: false, ..empty }
    }

    /// The length of the representation in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.content.length
    }

    /// The stored fields, updated with those of a 304 (RFC 9111 §4.3.4).
    #[must_use]
    pub fn updated_fields(&self, update: &HeaderMap) -> HeaderMap {
        let mut fields = self.fields.to_map();
        // The age belonged to the message, not to the stored response.
        fields.remove(header::AGE);
        for name in update.keys() {
            if FieldTrait::OfContent.applies_to(name.as_str()) {
                continue;
            }
            fields.remove(name);
            for value in update.get_all(name) {
                fields.append(name, value.clone());
            }
        }
        fields
    }

    /// The same response, stale. It is not validated with the origin again before `retry_at`.
    #[must_use]
    pub fn waiting(&self, retry_at: Timestamp) -> Self {
        let mut freshness = self.freshness;
        freshness.stale.retry_at = retry_at;
        Self { freshness, ..self.copy() }
    }

    /// The same response, stale, after a soft purge that `mark` covers.
    pub(super) fn expired(&self, mark: PurgeMark) -> Self {
        let mut freshness = self.freshness;
        freshness.fresh_until = freshness.received_at;
        freshness.stale.while_revalidate = 0;
        freshness.stale.retry_at = Timestamp::default();
        Self { freshness, mark, checked: AtomicU64::new(0), ..self.copy() }
    }

    /// The same response under the same serial, which may be used only once the origin has validated it.
    #[must_use]
    pub(crate) fn unverified(&self) -> Self {
        let mut freshness = self.freshness;
        freshness.fresh_until = freshness.received_at;
        freshness.stale = Stale::default();
        Self { serial: self.serial, freshness, ..self.copy() }
    }

    /// The head of the compressed form of a response that has no content.
    #[must_use]
    pub fn encoded_head(&self, coding: Coding) -> Self {
        Self {
            content_state: ContentState::HeadOnlyOfUnknownLength,
            ..self.encoded(coding, Arc::clone(&self.content))
        }
    }

    /// Whether a response to a later HEAD shows that the object has changed (RFC 9111 §4.3.5): it differs in a
    /// validator or in length.
    #[must_use]
    pub fn differs_from(&self, head: &HeaderMap, length: Option<u64>) -> bool {
        let differs = |name| {
            let (stored, new) = (self.fields.get(&name), head.get(&name));
            new.is_some_and(|new| stored.as_ref() != Some(new))
        };
        differs(header::ETAG)
            || differs(header::LAST_MODIFIED)
            || length.is_some_and(|length| length != self.length())
    }

    /// The compressed form of this response, whose bytes are `content`.
    pub(super) fn encoded(&self, coding: Coding, content: Arc<Content>) -> Self {
        Self { content, compressible: false, encoded: true, ..self.described(coding) }
    }

    /// This response with the fields of its compressed form.
    #[must_use]
    pub fn described(&self, coding: Coding) -> Self {
        let mut fields = self.fields.to_map();
        compression::describe(&mut fields, coding);
        Self { fields: FieldBlock::pack(&fields), ..self.copy() }
    }

    /// The same response without the bytes of its content, to be read in parts.
    #[must_use]
    pub fn without_content(&self) -> Self {
        Self {
            content: Arc::new(self.content.released()),
            content_state: ContentState::Released,
            ..self.copy()
        }
    }

    fn copy(&self) -> Self {
        Self {
            serial: next_serial(),
            status: self.status,
            fields: self.fields.clone(),
            freshness: self.freshness,
            compressible: self.compressible,
            encoded: self.encoded,
            synthetic_error: self.synthetic_error,
            content_state: self.content_state,
            tags: self.tags.clone(),
            content: Arc::clone(&self.content),
            mark: self.mark,
            checked: AtomicU64::new(self.checked.load(Ordering::Relaxed)),
            noted: AtomicU8::new(0),
            flags: AtomicU8::new(0),
        }
    }

    /// Calls `read` with the stored validators.
    pub fn with_validators<T>(&self, read: impl FnOnce(&Validators<'_>) -> T) -> T {
        let [etag, modified] =
            [header::ETAG, header::LAST_MODIFIED].map(|name| self.fields.value(&name));
        let [etag, modified] = [&etag, &modified].map(|value| value.as_ref().map(AsRef::as_ref));
        read(&Validators::read(etag, modified))
    }

    /// Whether slices of different origin responses can be verified to be of one version: by a strong
    /// entity tag, or by a modification date that is strong (RFC 9110 §8.8.2.2).
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

    /// Whether the response has a validator that distinguishes versions.
    #[must_use]
    pub fn has_validator(&self) -> bool {
        [header::ETAG, header::LAST_MODIFIED].iter().any(|name| self.fields.value(name).is_some())
    }

    /// Whether a part of the content can be fetched again without mixing two versions. Only a strong entity
    /// tag proves that: a 304 does not change it, but makes a weak date look strong.
    pub(super) fn can_be_fetched_again(&self) -> bool {
        let etag = self.fields.value(&header::ETAG);
        let tag = etag.as_ref().and_then(|value| EntityTag::parse(value.as_ref()));
        self.status == StatusCode::OK && !self.encoded && tag.is_some_and(|tag| tag.is_strong())
    }

    /// Whether the content has the same bytes as that of `other`, which can be fetched again.
    pub(super) fn is_same_version(&self, other: &Self) -> bool {
        self.length() == other.length()
            && self.encoded == other.encoded
            && self.fields.get(&header::ETAG) == other.fields.get(&header::ETAG)
    }

    /// Whether all of the content is present as one piece.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        // A thread that sees this flag also sees the content.
        if self.has(WHOLE) {
            return true;
        }
        let is_whole = self.content.bytes().is_some();
        if is_whole {
            self.flags.fetch_or(WHOLE, Ordering::Release);
        }
        is_whole
    }

    /// The same response, whose atomics and reference count only one thread uses.
    pub(super) fn copy_for_thread(&self) -> Self {
        Self { serial: self.serial, ..self.copy() }
    }

    /// The index has another response, or none, in place of this one.
    pub(super) fn displace(&self) {
        self.flags.fetch_or(DISPLACED, Ordering::Release);
    }

    /// Whether the index had this response and has it no longer.
    pub(super) fn is_displaced(&self) -> bool {
        self.has(DISPLACED)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    /// Prefetches the `Content` and the fields.
    pub(super) fn prefetch(&self) {
        prefetch::load_value(&*self.content);
        self.fields.prefetch();
    }

    /// The size in bytes, including content that is not stored in slices of `slice` bytes.
    pub(super) fn size(&self, slice: u32) -> usize {
        let is_single =
            self.content.layout(slice).is_single() && !self.content_state.is_head_only();
        let in_head = if is_single { self.length() } else { 0 };
        let in_head = footprint(usize::try_from(in_head).unwrap_or(usize::MAX / 2));
        self.fields.len() + self.tags.len() * size_of::<Tag>() + in_head
    }

    pub(super) fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }
}

fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are millions of stored responses: with its two counters, one fits into 128 bytes.
    #[test]
    fn a_stored_response_is_small() {
        let counters = 2 * size_of::<usize>();
        assert!(size_of::<StoredResponse>() + counters <= 128, "{}", size_of::<StoredResponse>());
    }
}
