//! The range of a 206.

use std::ops::Range;

use http::StatusCode;

use crate::{http::range::ContentRange, origin::OriginResponse};

/// The byte range of a 206, and the complete length of the representation.
pub(crate) struct Received206 {
    pub(crate) bytes: Range<u64>,
    pub(crate) complete: u64,
}

/// A reason not to store the range of a 206.
pub(crate) enum UnusableRange {
    /// `Content-Range` is missing or malformed.
    Malformed,
    /// The complete length is unknown (RFC 9110 §14.4).
    UnknownLength,
}

/// The range of a 206; `None` for any other status.
pub(crate) fn partial(answer: &OriginResponse) -> Result<Option<Received206>, UnusableRange> {
    if answer.status != StatusCode::PARTIAL_CONTENT {
        return Ok(None);
    }
    let range = answer.content_range.as_deref().and_then(ContentRange::parse);
    match range.map(|range| (range.bytes, range.complete)) {
        Some((Some(bytes), Some(complete))) => Ok(Some(Received206 { bytes, complete })),
        Some((Some(_), None)) => Err(UnusableRange::UnknownLength),
        _ => Err(UnusableRange::Malformed),
    }
}
