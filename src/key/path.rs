//! One canonical path for behaviors, cache and origin.
//!
//! The viewer's path is percent-decoded once to bytes. Those bytes match path patterns, key the
//! cache, and are re-encoded for the origin in the one spelling that S3 signs
//! (AWS: "Create a canonical request", `UriEncode`).

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The request target is not in origin form.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// `%` is not followed by two hexadecimal digits.
    #[error("the path holds a percent sign that begins no escape")]
    BadEscape,
    /// The decoded path holds NUL or another control character.
    #[error("the path holds a control character")]
    Control,
    /// A decoded segment is `.` or `..`, between slashes or backslashes.
    #[error("the path holds a dot segment")]
    DotSegment,
    /// The decoded path is not UTF-8, so it names no S3 object.
    #[error("the path is not UTF-8")]
    NotUtf8,
}

/// A path decoded to the bytes it stands for; begins with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a>(Cow<'a, str>);

impl<'a> CanonicalPath<'a> {
    /// Decodes a request's path.
    ///
    /// # Errors
    /// When it could name something else than it seems to, or no object at all.
    pub fn parse(raw: &'a str) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        // Most paths hold nothing that needs a closer look.
        let mut before = 0;
        let plain = raw.bytes().fold(true, |plain, byte| {
            let dot = byte == b'.' && matches!(before, b'/' | b'\\');
            before = byte;
            plain && !dot && byte >= 0x20 && byte != 0x7f && byte != b'%'
        });
        if plain {
            return Ok(Self(Cow::Borrowed(raw)));
        }
        let decoded = if raw.contains('%') { Cow::Owned(decode(raw)?) } else { Cow::Borrowed(raw) };
        if decoded.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err(PathError::Control);
        }
        if has_dot_segment(&decoded) {
            return Err(PathError::DotSegment);
        }
        Ok(Self(decoded))
    }

    /// The path of the object with this key, of whatever it consists.
    #[must_use]
    pub fn of_key(key: &str) -> CanonicalPath<'static> {
        CanonicalPath(Cow::Owned(format!("/{key}")))
    }

    /// The path of an index document in this folder, whose name has no leading slash and was checked
    /// when the configuration was read.
    #[must_use]
    pub fn index(&self, name: &str) -> CanonicalPath<'static> {
        CanonicalPath(Cow::Owned(format!("{}{name}", self.0)))
    }

    /// The decoded bytes, with the leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The decoded text, with the leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root, the only path to which a default root object applies.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// Appends the path in S3's canonical spelling: every byte escaped but the unreserved ones
    /// of RFC 3986 and `/`, in upper-case hexadecimal.
    pub fn encode_into(&self, out: &mut String) {
        encode(&self.0, out);
    }

    /// The same path, independent of the request it was read from.
    #[must_use]
    pub fn into_owned(self) -> CanonicalPath<'static> {
        CanonicalPath(Cow::Owned(self.0.into_owned()))
    }
}

fn encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
}

fn decode(raw: &str) -> Result<String, PathError> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let (Some(high), Some(low)) = (hex(tail.first()), hex(tail.get(1))) else {
                return Err(PathError::BadEscape);
            };
            bytes.push(high << 4 | low);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|_| PathError::NotUtf8)
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    let value = char::from(*digit?).to_digit(16)?;
    u8::try_from(value).ok()
}

fn has_dot_segment(decoded: &str) -> bool {
    // A dot segment follows a separator: most paths end the search here.
    decoded.as_bytes().windows(2).any(|pair| matches!(pair, [b'/' | b'\\', b'.']))
        && decoded.split(['/', '\\']).any(|segment| segment == "." || segment == "..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a viewer asks for → what is sent to and signed for S3, as botocore writes it.
    const TABLE: [(&str, &str); 20] = [
        ("/a%20b.txt", "/a%20b.txt"),
        ("/a+b.txt", "/a%2Bb.txt"),
        ("/a%2Bb.txt", "/a%2Bb.txt"),
        ("/a%252Fb.txt", "/a%252Fb.txt"),
        ("/%2541.txt", "/%2541.txt"),
        ("/a//b.txt", "/a//b.txt"),
        ("//lead.txt", "//lead.txt"),
        ("/trail/", "/trail/"),
        ("/%C3%A9.txt", "/%C3%A9.txt"),
        ("/%c3%a9.txt", "/%C3%A9.txt"),
        ("/é.txt", "/%C3%A9.txt"),
        ("/%E6%97%A5%E6%9C%AC/%C3%BC.jpg", "/%E6%97%A5%E6%9C%AC/%C3%BC.jpg"),
        ("/it's(1)!*~.txt", "/it%27s%281%29%21%2A~.txt"),
        ("/it%27s%281%29%21%2A%7E.txt", "/it%27s%281%29%21%2A~.txt"),
        ("/a%3Fb%23c.txt", "/a%3Fb%23c.txt"),
        ("/a:b@c,d;e=f&g$h.txt", "/a%3Ab%40c%2Cd%3Be%3Df%26g%24h.txt"),
        ("/%61/b", "/a/b"),
        ("/a%2fb", "/a/b"),
        ("/a%5Cb", "/a%5Cb"),
        ("/.hidden/..x/y...", "/.hidden/..x/y..."),
    ];

    fn canonical(raw: &str) -> String {
        let mut out = String::new();
        CanonicalPath::parse(raw).expect(raw).encode_into(&mut out);
        out
    }

    #[test]
    fn paths_are_respelled_as_s3_signs_them() {
        for (raw, expected) in TABLE {
            assert_eq!(canonical(raw), expected, "{raw}");
        }
    }

    #[test]
    fn doubtful_paths_are_refused() {
        use PathError::{BadEscape, Control, DotSegment, NotAbsolute, NotUtf8};
        for (raw, error) in [
            ("*", NotAbsolute),
            ("a/b", NotAbsolute),
            ("/%", BadEscape),
            ("/%4", BadEscape),
            ("/%zz", BadEscape),
            ("/%+1", BadEscape),
            ("/a%00b", Control),
            ("/a%0d%0ab", Control),
            ("/a%7f", Control),
            ("/..", DotSegment),
            ("/a/../b", DotSegment),
            ("/a/%2e%2E/b", DotSegment),
            ("/a/.%2e", DotSegment),
            ("/./x", DotSegment),
            ("/a/./b", DotSegment),
            ("/a%2f..%2fb", DotSegment),
            ("/a/..%5cb", DotSegment),
            ("/a%5c..%5cb", DotSegment),
            ("/%C0%AE%C0%AE/x", NotUtf8),
            ("/%ff", NotUtf8),
        ] {
            assert_eq!(CanonicalPath::parse(raw), Err(error), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn every_key_survives_the_round_trip(key in "[^\\x00-\\x1f\\x7f/\\\\][^\\x00-\\x1f\\x7f]{0,30}") {
            let mut url = String::from("/");
            encode(&key, &mut url);
            let path = CanonicalPath::parse(&url);
            prop_assume!(path != Err(PathError::DotSegment));
            let path = path.expect("path");
            prop_assert_eq!(&path.as_str()[1..], key.as_str());
            prop_assert_eq!(canonical(&url), url);
        }

        #[test]
        fn any_text_parses_or_is_refused(raw in "\\PC{0,40}") {
            let _ = CanonicalPath::parse(&raw);
        }
    }
}
