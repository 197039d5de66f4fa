//! Stored responses and notes as records of the disk cache.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, StatusCode};

use super::{
    cache_tags::Tag,
    content::Content,
    content_state::ContentState,
    fields::FieldBlock,
    ledger::Held,
    purge_mark::{LogPosition, PurgeMark},
    response::StoredResponse,
    variants::Variants,
};
use crate::{
    base::clock::Timestamp,
    cache::{
        digest::Digest,
        disk::{Fields, Kind, Loaded, Record},
        key::{CacheKey, Variation},
        policy::{Freshness, Stale},
    },
};

/// Flags of a response.
const COMPRESSIBLE: u8 = 1;
const SYNTHETIC_ERROR: u8 = 2;

/// Collects the bytes of a description.
#[derive(Default)]
struct Description(Vec<u8>);

impl Description {
    fn u64s(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn mark(&mut self, mark: PurgeMark) {
        self.u64s([mark.position.0, mark.invalidations]);
    }
}

fn mark(fields: &mut Fields<'_>) -> Option<PurgeMark> {
    Some(PurgeMark { position: LogPosition(fields.u64()?), invalidations: fields.u64()? })
}

/// The record of a response. `body` is its content, unless that is sliced.
pub(super) fn of_response(
    digest: Digest,
    key: &CacheKey,
    response: &StoredResponse,
    body: Bytes,
) -> Record {
    let Freshness { received_at, initial_age, fresh_until, stale } = response.freshness;
    let mut description = Description::default();
    description.mark(response.mark);
    description.u64s([received_at.as_millis(), initial_age, fresh_until.as_millis()]);
    description.u64s([stale.while_revalidate.into(), stale.if_error.into()]);
    description.u64s([stale.retry_at.as_millis(), response.content.id.0, response.length()]);
    let flags = if response.compressible { COMPRESSIBLE } else { 0 }
        | if response.synthetic_error { SYNTHETIC_ERROR } else { 0 };
    description.0.extend_from_slice(&response.status.as_u16().to_le_bytes());
    description.0.extend_from_slice(&[flags, response.content_state.number()]);
    description.u64s([response.tags.len() as u64]);
    description.u64s(response.tags.iter().map(|tag| tag.number()));
    description.0.extend_from_slice(response.fields.as_bytes());
    record(Kind::Response, digest, key.as_bytes(), description.0, body)
}

/// The bytes that belong in the record of a response: its content, unless that is sliced. `None` while they arrive.
pub(super) fn body_of(response: &StoredResponse, slice: u32) -> Option<Bytes> {
    let has_content = !response.content_state.is_head_only();
    match response.content.whole() {
        Some(whole) if has_content => Some(whole),
        None if has_content && response.content.layout(slice).is_single() => None,
        _ => Some(Bytes::new()),
    }
}

/// The response of a record. `held` makes content of its body.
pub(super) fn response(
    loaded: &Loaded,
    held: impl FnOnce(Bytes) -> Held,
) -> Option<StoredResponse> {
    let mut fields = Fields(&loaded.description);
    let mark = mark(&mut fields)?;
    let [received_at, initial_age, fresh_until] = [fields.u64()?, fields.u64()?, fields.u64()?];
    let [while_revalidate, if_error] = [fields.u64()?, fields.u64()?];
    let [retry_at, id, length] = [fields.u64()?, fields.u64()?, fields.u64()?];
    let status = StatusCode::from_u16(fields.u16()?).ok()?;
    let flags = fields.u8()?;
    let content_state = ContentState::of_number(fields.u8()?)?;
    let tags = (0..fields.u64()?)
        .map(|_| fields.u64().map(Tag::from_number))
        .collect::<Option<Vec<Tag>>>()?;
    let freshness = Freshness {
        received_at: Timestamp::from_millis(received_at),
        initial_age,
        fresh_until: Timestamp::from_millis(fresh_until),
        stale: Stale {
            while_revalidate: u32::try_from(while_revalidate).ok()?,
            if_error: u32::try_from(if_error).ok()?,
            retry_at: Timestamp::from_millis(retry_at),
        },
    };
    let content = Content::known(id, length);
    if !loaded.body.is_empty() || length == 0 {
        if loaded.body.len() as u64 != length {
            return None;
        }
        content.fill(held(loaded.body.clone()));
    }
    let fields = FieldBlock::from_bytes(fields.0);
    let mut response = StoredResponse::restored(status, fields, freshness, Arc::new(content), mark);
    response.compressible = flags & COMPRESSIBLE != 0;
    response.synthetic_error = flags & SYNTHETIC_ERROR != 0;
    response.content_state = content_state;
    response.tags = tags.into_iter().collect();
    Some(response)
}

/// The mark of the response that a record describes.
pub(super) fn mark_of(description: &[u8]) -> Option<PurgeMark> {
    mark(&mut Fields(description))
}

/// The record of the note that responses of a resource vary.
pub(super) fn of_variants(digest: Digest, resource: &CacheKey, variants: &Variants) -> Record {
    let mut description = Description::default();
    description.mark(variants.mark);
    let names: Vec<&str> = variants.variation.names().iter().map(HeaderName::as_str).collect();
    description.0.extend_from_slice(names.join(",").as_bytes());
    let mut body = Description::default();
    for key in variants.keys() {
        body.u64s([key.as_bytes().len() as u64]);
        body.0.extend_from_slice(key.as_bytes());
    }
    record(Kind::Variants, digest, resource.as_bytes(), description.0, body.0.into())
}

/// The note of a record.
pub(super) fn variants(loaded: &Loaded) -> Option<Variants> {
    let mut fields = Fields(&loaded.description);
    let mark = mark(&mut fields)?;
    let names = fields.0.split(|byte| *byte == b',').map(HeaderName::from_bytes);
    let names: Vec<HeaderName> = names.collect::<Result<_, _>>().ok()?;
    let mut body = Fields(&loaded.body);
    let mut keys = Vec::new();
    while !body.0.is_empty() {
        let length = usize::try_from(body.u64()?).ok()?;
        keys.push(CacheKey::from_bytes(body.bytes(length)?));
    }
    Some(Variants::restored(Variation::of(names), keys, mark))
}

/// The record of an invalidation by an unsafe request.
pub(super) fn of_invalidation(distribution: &str, path: &str, number: u64) -> Record {
    let key = [distribution.as_bytes(), &[0], path.as_bytes()].concat();
    let description = number.to_le_bytes().to_vec();
    record(Kind::Invalidation, Digest(0, 0), &key, description, Bytes::new())
}

/// The distribution, path and number of an invalidation.
pub(super) fn invalidation<'a>(
    key: &'a [u8],
    description: &[u8],
) -> Option<(&'a [u8], &'a [u8], u64)> {
    let end = key.iter().position(|byte| *byte == 0)?;
    Some((&key[..end], &key[end + 1..], Fields(description).u64()?))
}

/// A record.
pub(super) fn record(
    kind: Kind,
    digest: Digest,
    key: &[u8],
    description: Vec<u8>,
    body: Bytes,
) -> Record {
    Record { kind, digest, key: key.into(), description: description.into(), body }
}

/// Reads bytes like a segment that another process left, and what its records say. Returns how many records are
/// listed, how many are valid, and how many of these can be used.
#[cfg(feature = "fuzz")]
#[must_use]
pub fn read_segment(bytes: &[u8]) -> [usize; 3] {
    let (records, listed) = crate::cache::disk::read_segment(bytes);
    let usable = records.iter().filter(|loaded| match loaded.kind {
        Kind::Response => response(loaded, |body| Held::Shared(Box::new(body))).is_some(),
        Kind::Variants => variants(loaded).is_some(),
        Kind::Invalidation => invalidation(&loaded.key, &loaded.description).is_some(),
        Kind::Slice | Kind::Encoded | Kind::Forget => true,
    });
    [listed, records.len(), usable.count()]
}
