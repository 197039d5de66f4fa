//! Header values formatted for one response.

use std::fmt::Write;

use bytes::BytesMut;
use http::HeaderValue;

use crate::base::text;

/// Formats a number as a header value.
pub(crate) fn number(number: u64) -> HeaderValue {
    value(|text| text.write_str(itoa::Buffer::new().format(number)))
        .unwrap_or(HeaderValue::from_static("0"))
}

/// Formats a header value in memory shared with the values of many responses.
pub(crate) fn value(write: impl FnOnce(&mut BytesMut) -> std::fmt::Result) -> Option<HeaderValue> {
    const LONGEST: usize = 256;
    HeaderValue::from_maybe_shared(text::shared(LONGEST, write).ok()?).ok()
}
