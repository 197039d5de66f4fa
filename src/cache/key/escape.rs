//! Percent-encoding, dot segments, and the generous reading of a path (RFC 3986 §2 and §5.2.4).

use std::borrow::Cow;

use super::path_error::PathError;

/// Appends `text` in S3's canonical spelling: every byte is escaped except the unreserved ones and
/// `/`, with upper-case hexadecimal digits (AWS: "Create a canonical request", `UriEncode`).
pub(crate) fn encode_key(text: &str, out: &mut String) {
    out.reserve(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) || byte == b'/' {
            out.push(char::from(byte));
        } else {
            push_escape(byte, out);
        }
    }
}

/// Decodes every escape.
pub(super) fn decode_key(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    for_each_byte(raw, |byte, _| bytes.push(byte))?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| PathError::NotUtf8)
}

/// Normalizes the escapes of a URI path (RFC 3986 §6.2.2.1 and §6.2.2.2): unreserved characters are
/// decoded, and the hexadecimal digits of every other escape are upper-case. Raw bytes beyond ASCII
/// are escaped, since a URI cannot hold them (RFC 3987 §3.1).
pub(super) fn normalize_uri(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if raw.is_ascii() && !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    for_each_byte(raw, |byte, escaped| {
        let is_raw = if escaped { is_unreserved(byte) } else { byte.is_ascii() };
        if is_raw { out.push(char::from(byte)) } else { push_escape(byte, &mut out) }
    })?;
    Ok(Cow::Owned(out))
}

/// Decodes the well-formed escapes and leaves everything else as it is.
pub(super) fn decode_lenient(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

/// Removes `.` and `..` segments from an absolute path (RFC 3986 §5.2.4).
pub(super) fn remove_dot_segments(path: Cow<'_, str>) -> Cow<'_, str> {
    if !has_dot_segments(&path) {
        return path;
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut kept: Vec<&str> = Vec::with_capacity(segments.len());
    for (at, segment) in segments.iter().enumerate() {
        if !is_dot_segment(segment) {
            kept.push(segment);
            continue;
        }
        if *segment == ".." {
            kept.pop();
        }
        let is_last = at + 1 == segments.len();
        if is_last {
            kept.push("");
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

/// Whether a path has a `.` or `..` segment.
pub(super) fn has_dot_segments(path: &str) -> bool {
    path.split('/').skip(1).any(is_dot_segment)
}

fn is_dot_segment(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Reads `\`, `%5C` and `%2F` as `/`, and merges runs of slashes, as some stores and servers do. Does
/// not remove the dot segments that this reveals.
pub(super) fn read_as_slashes(path: &str) -> Cow<'_, str> {
    let has_escape = |text: &str| text.contains("%2") || text.contains("%5");
    if !path.contains('\\') && !path.contains("//") && !has_escape(path) {
        return Cow::Borrowed(path);
    }
    let mut read = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let is_escape = rest.get(..3).is_some_and(|escape| {
            escape.eq_ignore_ascii_case("%2f") || escape.eq_ignore_ascii_case("%5c")
        });
        let (character, length) = match first {
            '\\' => ('/', 1),
            '%' if is_escape => ('/', 3),
            other => (other, other.len_utf8()),
        };
        if character != '/' || !read.ends_with('/') {
            read.push(character);
        }
        rest = &rest[length..];
    }
    Cow::Owned(read)
}

/// Calls `take` with each decoded byte of `raw`, and whether it was escaped.
fn for_each_byte(raw: &str, mut take: impl FnMut(u8, bool)) -> Result<(), PathError> {
    let mut rest = raw.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let (Some(high), Some(low)) = (hex(tail.first()), hex(tail.get(1))) else {
                return Err(PathError::BadEscape);
            };
            take(high << 4 | low, true);
            rest = &tail[2..];
        } else {
            take(byte, false);
            rest = tail;
        }
    }
    Ok(())
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    let value = char::from(*digit?).to_digit(16)?;
    u8::try_from(value).ok()
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn push_escape(byte: u8, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_removed_as_the_rfc_says() {
        for (path, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/a/b/", "/a/b/"),
            ("/a/b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/a//../b", "/a/b"),
            ("/a/%2e%2E/b", "/a/%2e%2E/b"),
            ("/a/.../b", "/a/.../b"),
            ("/a/..b/.c", "/a/..b/.c"),
            ("//../a", "/a"),
        ] {
            assert_eq!(remove_dot_segments(Cow::Borrowed(path)), expected, "{path}");
        }
    }

    #[test]
    fn slashes_are_found_in_every_spelling() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("//a///b", "/a/b"),
            ("/a\\b", "/a/b"),
            ("/a%5cb%5Cc%2fd%2Fe", "/a/b/c/d/e"),
            ("/\\%2f/a", "/a"),
            ("/a%25b%2", "/a%25b%2"),
            ("/é%2Fü", "/é/ü"),
        ] {
            assert_eq!(read_as_slashes(path), expected, "{path}");
        }
    }
}
