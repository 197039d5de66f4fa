//! The two output formats of a response head: a header map for hyper, or HTTP/1.1 text.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::field_value::value;
use crate::{base::text::VecWriter, cache::store::FieldBlock};

/// A destination for the headers of a response. Callers skip the names that the edge writes itself, so a sink only
/// appends.
pub(crate) trait HeadSink {
    /// Writes stored fields, except those that `skips` matches.
    fn stored(&mut self, fields: &FieldBlock, skips: impl Fn(&[u8]) -> bool);

    /// Writes a field.
    fn field(&mut self, name: HeaderName, value: &HeaderValue);

    /// Writes a field whose value is formatted by `write`.
    fn formatted(
        &mut self,
        name: HeaderName,
        write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
    );

    /// Writes a field whose value differs in every response.
    fn unique(&mut self, name: HeaderName, value: &[u8]);
}

impl HeadSink for HeaderMap {
    fn stored(&mut self, fields: &FieldBlock, skips: impl Fn(&[u8]) -> bool) {
        fields.append_to(self, skips);
    }

    fn field(&mut self, name: HeaderName, value: &HeaderValue) {
        self.append(name, value.clone());
    }

    fn formatted(
        &mut self,
        name: HeaderName,
        write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
    ) {
        if let Some(value) = value(|text| write(text)) {
            self.append(name, value);
        }
    }

    fn unique(&mut self, name: HeaderName, value: &[u8]) {
        if let Ok(mut value) = HeaderValue::from_bytes(value) {
            // HPACK does not index sensitive values.
            value.set_sensitive(true);
            self.append(name, value);
        }
    }
}

/// Writes HTTP/1.1 field lines.
impl HeadSink for Vec<u8> {
    fn stored(&mut self, fields: &FieldBlock, skips: impl Fn(&[u8]) -> bool) {
        for field in fields.packed() {
            let name = field.name();
            if !skips(name) {
                append_line(name, field.value().as_ref(), self);
            }
        }
    }

    fn field(&mut self, name: HeaderName, value: &HeaderValue) {
        append_line(name.as_str().as_bytes(), value.as_bytes(), self);
    }

    fn formatted(
        &mut self,
        name: HeaderName,
        write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
    ) {
        self.extend_from_slice(name.as_str().as_bytes());
        self.extend_from_slice(b": ");
        // Writing to a Vec cannot fail.
        let _ = write(&mut VecWriter(self));
        self.extend_from_slice(b"\r\n");
    }

    fn unique(&mut self, name: HeaderName, value: &[u8]) {
        append_line(name.as_str().as_bytes(), value, self);
    }
}

fn append_line(name: &[u8], value: &[u8], text: &mut Vec<u8>) {
    text.reserve(name.len() + value.len() + 4);
    for part in [name, b": ", value, b"\r\n"] {
        text.extend_from_slice(part);
    }
}

/// Appends an HTTP/1.1 status line.
pub(crate) fn append_status_line(status: StatusCode, text: &mut Vec<u8>) {
    for part in [b"HTTP/1.1 ", status.as_str().as_bytes(), b" "] {
        text.extend_from_slice(part);
    }
    text.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    text.extend_from_slice(b"\r\n");
}

/// Appends the fields of a map as field lines.
pub(crate) fn append_map(fields: &HeaderMap, text: &mut Vec<u8>) {
    for (name, value) in fields {
        append_line(name.as_str().as_bytes(), value.as_bytes(), text);
    }
}

/// Whether `name` is the name of `field`.
pub(crate) fn is(name: &[u8], field: &HeaderName) -> bool {
    name == field.as_str().as_bytes()
}

/// Whether `Vary` lists `Accept-Encoding` or `*` (RFC 9110 §12.5.5).
pub(crate) fn varies_by_coding(fields: &FieldBlock) -> bool {
    let lines = fields.packed().filter(|field| is(field.name(), &header::VARY));
    let mut lines = lines.map(|field| field.value());
    lines.any(|line| {
        let mut names = line.as_ref().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
    })
}
