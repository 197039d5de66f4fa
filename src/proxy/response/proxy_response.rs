//! A response before it is converted into a message.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    head_sink::{HeadSink, is, varies_by_coding},
    identity::Identity,
    multipart::Multipart,
};
use crate::{
    base::{clock::Timestamp, metrics::ResultType},
    cache::store::{CacheTags, Hold, StoredResponse},
    http::{body::Body, cache_status::Report, date},
    origin::Tunnel,
    outbound::Timing,
};

const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

/// A response before it is converted into a message.
pub(crate) struct ProxyResponse {
    pub(crate) head: Head,
    pub(crate) content: Carried,
    pub(crate) result: ResultType,
    pub(crate) report: Report,
    /// What is known about the fetch, if this response was fetched.
    pub(crate) fetched: Option<Box<Fetched>>,
    /// The status that a custom error response is sent with.
    pub(crate) substituted: Option<StatusCode>,
}

/// What is known about a response that was fetched.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// The origin's timing.
    pub(crate) timing: Timing,
    /// The cache tags, if the response is not stored here.
    pub(crate) tags: CacheTags,
}

impl ProxyResponse {
    pub(crate) const fn new(head: Head, body: Body, result: ResultType, report: Report) -> Self {
        let content = Carried::Body(body);
        Self { head, content, result, report, fetched: None, substituted: None }
    }
}

/// The content of a response.
pub(crate) enum Carried {
    /// The bytes of the stored response that the head describes.
    InMemory(Hold),
    /// A body, which may be empty.
    Body(Body),
    /// None: the connection switches protocols.
    Tunnel(Box<Tunnel>),
}

impl Carried {
    /// The hold on content in memory, if any. A response that is complete in memory has no other content.
    pub(crate) fn into_hold(self) -> Option<Hold> {
        match self {
            Self::InMemory(hold) => Some(hold),
            Self::Body(_) | Self::Tunnel(_) => None,
        }
    }

    /// The content as a body.
    pub(crate) fn into_body(self, head: &Head) -> Body {
        match (self, head) {
            (Self::Body(body), _) => body,
            (Self::InMemory(hold), Head::Stored(head)) => {
                let whole = head.response.content.whole().map(|whole| hold.of(whole));
                whole.map_or_else(Body::empty, |whole| piece(whole, &head.bytes()))
            }
            (Self::InMemory(_), Head::Own(..) | Head::Page(..)) | (Self::Tunnel(_), _) => {
                Body::empty()
            }
        }
    }
}

/// A range of the whole content as a body.
pub(crate) fn piece(whole: Bytes, bytes: &Range<u64>) -> Body {
    // Threads that serve the same object share its reference count, so avoid a needless slice.
    if *bytes == (0..whole.len() as u64) {
        return Body::full(whole);
    }
    Body::full(whole.slice(in_memory(bytes)))
}

/// Converts a range of content into a range of memory.
pub(crate) fn in_memory(bytes: &Range<u64>) -> Range<usize> {
    let at = |position| usize::try_from(position).unwrap_or(usize::MAX);
    at(bytes.start)..at(bytes.end)
}

/// Status and headers of a response.
pub(crate) enum Head {
    /// Built for this request alone.
    Own(StatusCode, HeaderMap),
    /// A synthetic error with additional headers. Its page is rendered for the viewer last.
    Page(StatusCode, HeaderMap),
    /// Taken from a stored response.
    Stored(StoredHead),
}

impl Head {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Own(status, _) | Self::Page(status, _) => *status,
            Self::Stored(head) => head.status(),
        }
    }
}

/// The response head for a stored response.
pub(crate) struct StoredHead {
    pub(crate) response: Arc<StoredResponse>,
    pub(crate) part: Part,
    /// `Age` in seconds, if sent.
    pub(crate) age: Option<u64>,
    /// Whether `Accept-Encoding` selects the encoding of the content.
    pub(crate) varies_by_coding: bool,
    /// Headers that the origin sent for this viewer alone.
    pub(crate) own_fields: Option<Box<HeaderMap>>,
}

/// The part of the stored representation that a response carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// No content: the response to a HEAD whose content length is unknown.
    Head,
    Bytes(Range<u64>),
    Several(Box<Multipart>),
    NotModified,
}

impl StoredHead {
    pub(crate) fn new(
        response: Arc<StoredResponse>,
        part: Part,
        age: Option<u64>,
        varies_by_coding: bool,
    ) -> Self {
        Self { response, part, age, varies_by_coding, own_fields: None }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self.part {
            Part::Whole | Part::Head => self.response.status,
            Part::Bytes(_) | Part::Several(_) => StatusCode::PARTIAL_CONTENT,
            Part::NotModified => StatusCode::NOT_MODIFIED,
        }
    }

    /// The range of content that the response carries; empty if it is not a single range.
    pub(crate) fn bytes(&self) -> Range<u64> {
        match &self.part {
            Part::Whole => 0..self.response.length(),
            Part::Bytes(bytes) => bytes.clone(),
            Part::Head | Part::Several(_) | Part::NotModified => 0..0,
        }
    }

    /// Writes the headers, except those of `identity`, which the caller writes.
    pub(crate) fn write(&self, sink: &mut impl HeadSink, identity: &Identity, at: Timestamp) {
        let StoredHead { response, part, own_fields, .. } = self;
        let replaced: &[HeaderName] = match part {
            Part::Whole | Part::Head => &[],
            Part::Bytes(_) => &[header::CONTENT_RANGE],
            Part::Several(_) => &[header::CONTENT_RANGE, header::CONTENT_TYPE],
            // RFC 9110 §15.4.5: a 304 omits headers that describe content.
            Part::NotModified => &[
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
                header::CONTENT_RANGE,
                header::CONTENT_TYPE,
            ],
        };
        let ours = identity.names();
        let skips = |name: &[u8]| {
            is(name, &header::ACCEPT_RANGES)
                || is(name, &header::AGE)
                || ours.iter().chain(replaced).any(|field| is(name, field))
        };
        sink.stored(&response.fields, skips);
        let own = own_fields.iter().flat_map(|fields| fields.iter());
        for (name, value) in own.filter(|(name, _)| !skips(name.as_str().as_bytes())) {
            sink.field(name.clone(), value);
        }
        if let Some(age) = self.age {
            write_number(sink, header::AGE, age);
        }
        if self.varies_by_coding && !varies_by_coding(&response.fields) {
            sink.field(header::VARY, &ACCEPT_ENCODING);
        }
        let is_object = response.status == StatusCode::OK && !response.encoded;
        if is_object && *part != Part::NotModified {
            sink.field(header::ACCEPT_RANGES, &BYTES);
        }
        self.describe_content(sink);
        let is_dated = response.fields.value(&header::DATE).is_some()
            || own_fields.as_ref().is_some_and(|fields| fields.contains_key(header::DATE));
        if !is_dated {
            // RFC 9110 §6.6.1: the origin has no clock.
            sink.unique(header::DATE, &date::format(at));
        }
    }

    fn describe_content(&self, sink: &mut impl HeadSink) {
        let length = self.response.length();
        match &self.part {
            Part::Whole => write_number(sink, header::CONTENT_LENGTH, length),
            Part::Bytes(bytes) => {
                let (first, last) = (bytes.start, bytes.end.saturating_sub(1));
                sink.formatted(header::CONTENT_RANGE, |text| {
                    write!(text, "bytes {first}-{last}/{length}")
                });
                write_number(sink, header::CONTENT_LENGTH, bytes.end - bytes.start);
            }
            Part::Several(parts) => {
                sink.formatted(header::CONTENT_TYPE, |text| parts.write_media_type(text));
                write_number(sink, header::CONTENT_LENGTH, parts.length());
            }
            Part::Head | Part::NotModified => {}
        }
    }
}

fn write_number(sink: &mut impl HeadSink, name: HeaderName, number: u64) {
    sink.formatted(name, |text| text.write_str(itoa::Buffer::new().format(number)));
}
