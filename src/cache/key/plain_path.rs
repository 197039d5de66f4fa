//! Paths that every origin reads as written.

/// A path without escapes, backslashes, dot segments and runs of slashes. Most paths are plain and need
/// no further checks: the text is the same as a key and as a URI path.
#[derive(Clone, Copy, Debug)]
pub struct PlainPath<'a>(&'a str);

impl<'a> PlainPath<'a> {
    /// `raw`, if it is plain.
    #[must_use]
    pub fn of(raw: &'a str) -> Option<Self> {
        (raw.starts_with('/') && is_plain(raw)).then_some(Self(raw))
    }

    pub(super) const fn text(self) -> &'a str {
        self.0
    }
}

/// Whether every origin reads the path as written.
pub(super) fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().fold(true, |plain, byte| {
        let doubtful = before == b'/' && matches!(byte, b'.' | b'/');
        before = byte;
        plain && !doubtful && (0x20..0x7f).contains(&byte) && !matches!(byte, b'%' | b'\\')
    })
}
