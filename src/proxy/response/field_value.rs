//! Field values that are made for one response.

use std::fmt::Write;

use bytes::BytesMut;
use http::HeaderValue;

use crate::base::text;

/// A field value that is a number.
pub(crate) fn number(number: u64) -> HeaderValue {
    value(|text| text.write_str(itoa::Buffer::new().format(number)))
        .unwrap_or(HeaderValue::from_static("0"))
}

/// A field value, in memory that the values of many answers share.
pub(crate) fn value(write: impl FnOnce(&mut BytesMut) -> std::fmt::Result) -> Option<HeaderValue> {
    const LONGEST: usize = 256;
    HeaderValue::from_maybe_shared(text::shared(LONGEST, write).ok()?).ok()
}
