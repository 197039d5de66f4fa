//! Paths that every origin reads as they are written.

use std::borrow::Cow;

use super::{CanonicalPath, PathForm};

/// A path without escapes, backslashes, dot segments and runs of slashes. Most are like this, and need no
/// closer look: the text is the same whether it is a key or a URI path.
#[derive(Clone, Copy, Debug)]
pub struct PlainPath<'a>(&'a str);

impl<'a> PlainPath<'a> {
    /// `raw`, if it is plain.
    #[must_use]
    pub fn of(raw: &'a str) -> Option<Self> {
        (raw.starts_with('/') && is_plain(raw)).then_some(Self(raw))
    }

    /// The path for an origin that identifies what it serves in this form.
    #[must_use]
    pub const fn in_form(self, form: PathForm) -> CanonicalPath<'a> {
        CanonicalPath { text: Cow::Borrowed(self.0), form }
    }
}

/// Whether every origin reads the path as it is written.
pub(super) fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().fold(true, |plain, byte| {
        let doubtful = before == b'/' && matches!(byte, b'.' | b'/');
        before = byte;
        plain && !doubtful && (0x20..0x7f).contains(&byte) && !matches!(byte, b'%' | b'\\')
    })
}
