//! The logged parts of an exchange's request and response heads.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    request::viewer::X_FORWARDED_FOR,
    response::proxy_response::{Part, StoredHead},
};
use crate::http::range::ContentRange;

/// The logged parts of a response head.
#[derive(Clone, Default)]
pub(super) struct Shown {
    pub(super) bytes: u64,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) content_length: Option<u64>,
    pub(super) range: Option<(u64, u64)>,
}

impl Shown {
    pub(super) fn of(status: StatusCode, fields: &HeaderMap, content_length: Option<u64>) -> Self {
        // The status line, the empty line, and the fields that the connection adds.
        const BESIDES: usize = 60;
        let bytes = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
        let range =
            fields.get(header::CONTENT_RANGE).filter(|_| status == StatusCode::PARTIAL_CONTENT);
        let range = range.map(HeaderValue::as_bytes);
        let range = range.and_then(ContentRange::parse).and_then(|range| range.bytes);
        Self {
            bytes: (bytes.sum::<usize>() + BESIDES) as u64,
            content_type: fields.get(header::CONTENT_TYPE).cloned(),
            content_length,
            range: range.map(|bytes| (bytes.start, bytes.end.saturating_sub(1))),
        }
    }

    /// The logged parts of a stored response's head, except its length in bytes.
    pub(super) fn of_stored(head: &StoredHead, length: u64) -> Self {
        let range = match &head.part {
            Part::Bytes(bytes) => Some((bytes.start, bytes.end.saturating_sub(1))),
            Part::Whole | Part::Head | Part::Several(_) | Part::NotModified => None,
        };
        let has_content = head.part != Part::NotModified;
        let content_type = || head.response.fields.get(&header::CONTENT_TYPE);
        Self {
            bytes: 0,
            content_type: has_content.then(content_type).flatten(),
            content_length: Some(length),
            range,
        }
    }

    /// A copy that shares no memory.
    pub(super) fn own_copy(&self) -> Self {
        Self { content_type: self.content_type.as_ref().map(own_value), ..*self }
    }
}

/// A copy of a value that shares no reference count.
pub(super) fn own_value(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

/// The logged headers of a request.
#[derive(Default)]
pub(super) struct Logged {
    pub(super) host: Option<HeaderValue>,
    pub(super) range: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) forwarded_for: Option<HeaderValue>,
}

impl Logged {
    /// Moves the logged headers out of `fields` and leaves it empty.
    pub(super) fn take(&mut self, fields: &mut HeaderMap) {
        for (name, value) in fields.drain() {
            // `drain` yields further lines of a field without its name. Only the first line is logged.
            let Some(name) = name else { continue };
            let place = match name {
                _ if name == header::HOST => &mut self.host,
                _ if name == header::RANGE => &mut self.range,
                _ if name == header::REFERER => &mut self.referer,
                _ if name == header::USER_AGENT => &mut self.user_agent,
                _ if name == X_FORWARDED_FOR => &mut self.forwarded_for,
                _ => continue,
            };
            *place = Some(value);
        }
    }
}
