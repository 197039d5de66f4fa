//! The head of a plain hit as HTTP/1.1 writes it, straight from the stored fields.
//!
//! It says what [`StoredHead::write`] and [`Identity::write`] say of such a hit, without a map of fields
//! in between.

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};

use super::{
    answer::{Part, StoredHead, VariesBy},
    identity::Identity,
};
use crate::{
    clock::Timestamp,
    metrics::ResultType,
    semantics::{cache_status::Report, date},
};

/// Whether a head is written here: that of a whole object, in a form that the stored fields tell of.
pub(super) fn is_written(head: &StoredHead) -> bool {
    let is_told = match head.varies {
        VariesBy::Nothing => true,
        // The fields of a compressed form name what selects it.
        VariesBy::Coding => {
            head.response.encoded || head.response.fields.value(&header::VARY).is_none()
        }
        VariesBy::Described(_) => false,
    };
    is_told
        && head.part == Part::Whole
        && head.own_fields.is_none()
        && head.response.status == StatusCode::OK
}

/// Appends the head, but for the request's id.
pub(super) fn append(
    head: &StoredHead,
    (identity, result, report): (&Identity, ResultType, &Report),
    at: Timestamp,
    text: &mut Vec<u8>,
) {
    text.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    let mut is_dated = false;
    for field in head.response.fields.packed() {
        let name = field.name();
        is_dated |= name == header::DATE.as_str().as_bytes();
        if !is_ours(name, identity) {
            append_field(name, field.value().as_ref(), text);
        }
    }
    if let Some(age) = head.age {
        append_number(b"age", age, text);
    }
    if !head.response.encoded {
        append_field(b"accept-ranges", b"bytes", text);
        if head.varies == VariesBy::Coding {
            append_field(b"vary", b"Accept-Encoding", text);
        }
    }
    append_number(b"content-length", head.response.length, text);
    if !is_dated {
        // RFC 9110 §6.6.1: where the origin had no clock.
        append_field(b"date", &date::format(at), text);
    }
    identity.append(text, result, report, Version::HTTP_11);
}

/// Whether a field is made anew for each answer, whatever the origin has sent.
fn is_ours(name: &[u8], identity: &Identity) -> bool {
    name == header::ACCEPT_RANGES.as_str().as_bytes() || identity.is_ours(name)
}

fn append_number(name: &[u8], number: u64, text: &mut Vec<u8>) {
    append_field(name, itoa::Buffer::new().format(number).as_bytes(), text);
}

/// A field line.
pub(super) fn append_field(name: &[u8], value: &[u8], text: &mut Vec<u8>) {
    text.reserve(name.len() + value.len() + 4);
    for part in [name, b": ", value, b"\r\n"] {
        text.extend_from_slice(part);
    }
}

/// Status line and fields.
pub(super) fn append_map(status: StatusCode, fields: &HeaderMap, text: &mut Vec<u8>) {
    for part in [b"HTTP/1.1 ", status.as_str().as_bytes(), b" "] {
        text.extend_from_slice(part);
    }
    text.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    text.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        append_field(name.as_str().as_bytes(), value.as_bytes(), text);
    }
}

/// RFC 9110 §6.6.1: where the origin had no clock.
pub(super) fn date_field(at: Timestamp) -> HeaderValue {
    HeaderValue::from_bytes(&date::format(at)).unwrap_or(HeaderValue::from_static(""))
}
