//! Paths that every origin reads as they are written.

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

    pub(super) const fn text(self) -> &'a str {
        self.0
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
