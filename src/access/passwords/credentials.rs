//! The user name and password of a request.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, header};

/// The scheme of `Authorization`, with the space that follows it.
const SCHEME: &[u8] = b"basic ";

/// The user name and password of a request.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(super) name: String,
    pub(super) password: Vec<u8>,
}

impl Credentials {
    /// Reads `Authorization`. `None` if a request has none, several, or one that is not valid (RFC 7617 §2).
    pub(crate) fn of(fields: &HeaderMap) -> Option<Self> {
        let mut lines = fields.get_all(header::AUTHORIZATION).iter();
        let (line, None) = (lines.next()?.as_bytes(), lines.next()) else { return None };
        let (scheme, encoded) = line.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let pair = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
        // A user name has no colon, a password may.
        let colon = memchr::memchr(b':', &pair)?;
        let name = String::from_utf8(pair[..colon].to_vec()).ok()?;
        Some(Self { name, password: pair[colon + 1..].to_vec() })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[&str]) -> Option<(String, String)> {
        let lines = lines.iter().map(|line| HeaderValue::from_str(line).expect("a value"));
        let fields = lines.map(|line| (header::AUTHORIZATION, line)).collect();
        let Credentials { name, password } = Credentials::of(&fields)?;
        Some((name, String::from_utf8(password).expect("UTF-8")))
    }

    #[test]
    fn one_valid_line_is_read() {
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        // "Aladdin:open sesame" (RFC 7617 §2)
        assert_eq!(read(&["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]), pair("Aladdin", "open sesame"));
        assert_eq!(read(&["bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]), pair("Aladdin", "open sesame"));
        // "a:b:c" and "a:"
        assert_eq!(read(&["Basic YTpiOmM="]), pair("a", "b:c"));
        assert_eq!(read(&["Basic YTo="]), pair("a", ""));
        for invalid in [
            &[][..],
            &["Basic"],
            &["Basic "],
            &["Bearer YTpiOmM="],
            &["Basic YTpiOmM"],
            &["Basic ?"],
            // "a"
            &["Basic YQ=="],
            &["Basic YTpiOmM=", "Basic YTpiOmM="],
        ] {
            assert_eq!(read(invalid), None, "{invalid:?}");
        }
    }
}
