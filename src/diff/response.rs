//! A response of one of the two servers.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::content_digest::Contents;

/// A complete response.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    pub(super) contents: Contents,
    /// Time from the request to the head.
    pub(super) first_byte: Duration,
}

impl Response {
    /// The value of a field; several lines are joined by commas. Each byte is one character.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let lines = self.fields.get_all(name).iter();
        let texts: Vec<String> =
            lines.map(|line| line.as_bytes().iter().copied().map(char::from).collect()).collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }

    /// Whether the content is compressed.
    pub(super) fn is_encoded(&self) -> bool {
        self.text("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"))
    }

    /// Whether another response has the same content, perhaps compressed in another way.
    pub(super) fn has_content_of(&self, other: &Self) -> bool {
        if self.text("content-encoding") == other.text("content-encoding")
            && self.contents.sent == other.contents.sent
        {
            return true;
        }
        let plain = |it: &Self| {
            if it.is_encoded() { it.contents.decompressed } else { Some(it.contents.sent) }
        };
        plain(self).is_some() && plain(self) == plain(other)
    }
}
