//! Several ranges in one response: `multipart/byteranges` (RFC 9110 §14.6).

use std::{fmt, ops::Range};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::header;
use http_body_util::BodyExt;

use crate::{
    cache::store::StoredResponse,
    http::body::{Body, BodyError},
};

/// The parts of a multipart response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Multipart {
    boundary: String,
    /// The header of each part, and the part's range.
    parts: Vec<(Bytes, Range<u64>)>,
    end: Bytes,
}

impl Multipart {
    pub(crate) fn of(ranges: Vec<Range<u64>>, response: &StoredResponse) -> Self {
        Self::new(ranges, response, &format!("forebay-{:016x}", fastrand::u64(..)))
    }

    fn new(ranges: Vec<Range<u64>>, response: &StoredResponse, boundary: &str) -> Self {
        let length = response.length();
        let media_type = response.fields.get(&header::CONTENT_TYPE);
        let media_type = media_type.as_ref().and_then(|value| value.to_str().ok());
        let media_type =
            media_type.map_or_else(String::new, |name| format!("Content-Type: {name}\r\n"));
        let head = |bytes: &Range<u64>| {
            let (first, last) = (bytes.start, bytes.end - 1);
            let range = format!("Content-Range: bytes {first}-{last}/{length}\r\n");
            format!("\r\n--{boundary}\r\n{media_type}{range}\r\n").into()
        };
        Self {
            boundary: boundary.to_owned(),
            parts: ranges.into_iter().map(|bytes| (head(&bytes), bytes)).collect(),
            end: format!("\r\n--{boundary}--\r\n").into(),
        }
    }

    /// Writes the media type of the response.
    pub(crate) fn write_media_type(&self, text: &mut dyn fmt::Write) -> fmt::Result {
        write!(text, "multipart/byteranges; boundary={}", self.boundary)
    }

    /// The length of the whole body in bytes.
    pub(crate) fn length(&self) -> u64 {
        let part =
            |(head, bytes): &(Bytes, Range<u64>)| head.len() as u64 + (bytes.end - bytes.start);
        self.parts.iter().map(part).sum::<u64>() + self.end.len() as u64
    }

    /// The ranges in order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = &Range<u64>> {
        self.parts.iter().map(|(_, bytes)| bytes)
    }

    /// Builds the body. `open` is called for each range when its turn arrives.
    pub(crate) fn body<F>(self, open: impl Fn(Range<u64>) -> F + Send + 'static) -> Body
    where
        F: Future<Output = Result<Body, BodyError>> + Send + 'static,
    {
        let length = self.length();
        let parts = stream::iter(self.parts).flat_map(move |(head, bytes)| {
            let content = stream::once(open(bytes)).map_ok(BodyExt::into_data_stream).try_flatten();
            stream::once(async { Ok(head) }).chain(content)
        });
        Body::stream(Some(length), parts.chain(stream::once(async { Ok(self.end) })))
    }
}
