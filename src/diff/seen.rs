//! A response of one of the two servers.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

/// A complete response.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    /// SHA-256 of the decompressed content.
    pub(super) digest: [u8; 32],
    /// Bytes of the decompressed content.
    pub(super) length: u64,
    /// Time from the request to the head.
    pub(super) first_byte: Duration,
}

impl Seen {
    /// The value of a field as text; several lines are joined by commas.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let mut lines = self.fields.get_all(name).iter();
        let first = lines.next()?;
        let text = |line: &http::HeaderValue| String::from_utf8_lossy(line.as_bytes()).into_owned();
        Some(lines.fold(text(first), |all, line| format!("{all}, {}", text(line))))
    }

    /// Whether the content is compressed.
    pub(super) fn is_encoded(&self) -> bool {
        self.text("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"))
    }
}
