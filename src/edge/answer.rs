//! An answer before it becomes a message.

use std::{fmt::Write, ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::multipart::Multipart;
use crate::{
    body::Body,
    encode,
    metrics::ResultType,
    origin::Timing,
    semantics::{cache_status::Report, coding::Coding},
    store::{Hold, StoredResponse},
    text,
};

const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// An answer before it becomes a message.
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) content: Carried,
    pub(super) result: ResultType,
    pub(super) report: Report,
    /// How long the origin took, where it was asked for this answer.
    pub(super) timing: Option<Box<Timing>>,
    /// The status that a custom error response is sent with.
    pub(super) substituted: Option<StatusCode>,
}

impl Answer {
    pub(super) const fn new(head: Head, body: Body, result: ResultType, report: Report) -> Self {
        let content = Carried::Body(body);
        Self { head, content, result, report, timing: None, substituted: None }
    }
}

/// The content of an answer.
pub(super) enum Carried {
    /// The bytes of the stored response that the head describes.
    InMemory(Hold),
    /// A body, which may be empty.
    Body(Body),
}

impl Carried {
    /// The right to hold content in memory, if there is any. An answer that is complete in memory has no other.
    pub(super) fn into_hold(self) -> Option<Hold> {
        match self {
            Self::InMemory(hold) => Some(hold),
            Self::Body(_) => None,
        }
    }

    /// The content as a body.
    pub(super) fn into_body(self, head: &Head) -> Body {
        match (self, head) {
            (Self::Body(body), _) => body,
            (Self::InMemory(hold), Head::Stored(head)) => {
                let whole = head.response.content.whole().map(|whole| hold.of(whole));
                whole.map_or_else(Body::empty, |whole| piece(whole, &head.bytes()))
            }
            (Self::InMemory(_), Head::Own(..) | Head::Page(..)) => Body::empty(),
        }
    }
}

/// A part of the whole, as a body.
pub(super) fn piece(whole: Bytes, bytes: &Range<u64>) -> Body {
    // Threads that serve the same object count the references to it together: no more than needed.
    if *bytes == (0..whole.len() as u64) {
        return Body::full(whole);
    }
    Body::full(whole.slice(in_memory(bytes)))
}

/// Places in memory of bytes that lie there.
pub(super) fn in_memory(bytes: &Range<u64>) -> Range<usize> {
    let at = |position| usize::try_from(position).unwrap_or(usize::MAX);
    at(bytes.start)..at(bytes.end)
}

/// Status and fields of an answer.
pub(super) enum Head {
    /// Made for this request alone.
    Own(StatusCode, HeaderMap),
    /// An error of our own with further fields; its content is written for the viewer at the end.
    Page(StatusCode, HeaderMap),
    /// Those of a stored response.
    Stored(StoredHead),
}

impl Head {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Own(status, _) | Self::Page(status, _) => *status,
            Self::Stored(head) => head.status(),
        }
    }
}

/// The head of an answer from a stored response.
pub(super) struct StoredHead {
    pub(super) response: Arc<StoredResponse>,
    pub(super) part: Part,
    /// In seconds, where it is told.
    pub(super) age: Option<u64>,
    pub(super) varies: VariesBy,
    /// Fields that the origin sent for this viewer alone.
    pub(super) own_fields: Option<Box<HeaderMap>>,
}

/// Whether `Accept-Encoding` selects the form of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VariesBy {
    Nothing,
    Coding,
    /// It does, and the answer is about the form in this coding, though without its content.
    Described(Coding),
}

/// What of the stored representation an answer carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Bytes(Range<u64>),
    Several(Box<Multipart>),
    NotModified,
}

impl StoredHead {
    pub(super) fn new(
        response: Arc<StoredResponse>,
        part: Part,
        age: Option<u64>,
        varies: VariesBy,
    ) -> Self {
        Self { response, part, age, varies, own_fields: None }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self.part {
            Part::Whole => self.response.status,
            Part::Bytes(_) | Part::Several(_) => StatusCode::PARTIAL_CONTENT,
            Part::NotModified => StatusCode::NOT_MODIFIED,
        }
    }

    /// The bytes of the content that the answer carries, where they are of one piece.
    pub(super) fn bytes(&self) -> Range<u64> {
        match &self.part {
            Part::Whole => 0..self.response.length,
            Part::Bytes(bytes) => bytes.clone(),
            Part::Several(_) | Part::NotModified => 0..0,
        }
    }

    /// Writes the fields into a map that is empty.
    pub(super) fn write(&self, fields: &mut HeaderMap) {
        self.response.fields.append_to(fields);
        for (name, value) in self.own_fields.iter().flat_map(|own| own.iter()) {
            fields.append(name, value.clone());
        }
        if let Some(age) = self.age {
            fields.insert(header::AGE, number(age));
        }
        match self.varies {
            VariesBy::Nothing => {}
            VariesBy::Coding => encode::vary(fields),
            VariesBy::Described(coding) => encode::describe(fields, coding),
        }
        let is_object = self.response.status == StatusCode::OK && !self.response.encoded;
        if is_object && self.part != Part::NotModified {
            fields.insert(header::ACCEPT_RANGES, BYTES);
        }
        self.describe_content(fields);
    }

    fn describe_content(&self, fields: &mut HeaderMap) {
        let length = self.response.length;
        match &self.part {
            Part::Whole => {
                fields.insert(header::CONTENT_LENGTH, number(length));
            }
            Part::Bytes(bytes) => {
                let last = bytes.end.saturating_sub(1);
                let range = value(|text| write!(text, "bytes {}-{last}/{length}", bytes.start));
                if let Some(range) = range {
                    fields.insert(header::CONTENT_RANGE, range);
                }
                fields.insert(header::CONTENT_LENGTH, number(bytes.end - bytes.start));
            }
            Part::Several(parts) => parts.describe(fields),
            Part::NotModified => {
                // RFC 9110 §15.4.5: what would describe content is left out.
                for name in
                    [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE]
                {
                    fields.remove(name);
                }
            }
        }
    }
}

/// A field value that is a number.
pub(super) fn number(number: u64) -> HeaderValue {
    value(|text| text.write_str(itoa::Buffer::new().format(number)))
        .unwrap_or(HeaderValue::from_static("0"))
}

/// A field value, in memory that the values of many answers share.
pub(super) fn value(write: impl FnOnce(&mut BytesMut) -> std::fmt::Result) -> Option<HeaderValue> {
    const LONGEST: usize = 256;
    HeaderValue::from_maybe_shared(text::shared(LONGEST, write).ok()?).ok()
}
