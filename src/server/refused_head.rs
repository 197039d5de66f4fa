//! Parses a request head that hyper refused as far as possible, for the log.

use std::io::ErrorKind;

use http::{HeaderName, HeaderValue, Method, Request, Uri, header, request::Parts};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// Characters that a URI cannot contain.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A longer target may have lost its end.
const LONG: usize = 8 << 10;

/// Fields that are logged, or select the distribution.
const LOGGED: [HeaderName; 4] =
    [header::HOST, header::REFERER, header::USER_AGENT, HeaderName::from_static("x-forwarded-for")];

/// The reason for which hyper refuses a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status that hyper sends; zero if it sends nothing.
    pub status: u16,
    /// The reason, for the log.
    pub detail: &'static str,
}

impl Refused {
    /// The reason, if `error` is about a refused head. If a head takes too long, hyper sends the viewer nothing.
    pub(super) fn of(error: &hyper::Error) -> Option<Self> {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
        if cause.is_some_and(|cause: &std::io::Error| cause.kind() == ErrorKind::TimedOut) {
            return Some(Self { status: 0, detail: "head-timeout" });
        }
        let is_about_uri = || error.to_string().contains("URI too long");
        if error.is_parse_too_large() && is_about_uri() {
            Some(Self { status: 414, detail: "uri-too-long" })
        } else if error.is_parse_too_large() {
            Some(Self { status: 431, detail: "head-too-large" })
        } else if error.is_parse() {
            Some(Self { status: 400, detail: "malformed-head" })
        } else {
            None
        }
    }
}

/// Parses method, target and logged fields, without those that are missing or unreadable. The method is then `-`, the
/// target `/`. Characters that a URI cannot contain are percent-encoded.
pub(super) fn read(head: &[u8]) -> Parts {
    // RFC 9112 §2.2: empty lines may precede a request line.
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .skip_while(|line| line.is_empty());
    let line = lines.next().unwrap_or_default();
    // A line that is not a request line may be anything, such as a secret in content.
    let (method, target) = request_line(line).unwrap_or_default();
    let target = percent_encode(target.trim_ascii(), ENCODED).to_string();
    let (mut parts, ()) = Request::new(()).into_parts();
    let unknown = || Method::from_bytes(b"-").unwrap_or_default();
    parts.method = Method::from_bytes(method).unwrap_or_else(|_| unknown());
    parts.uri = Uri::try_from(target).unwrap_or_default();
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some((name, value)) = split_at(line, b':') else { continue };
        let Ok(name) = HeaderName::from_bytes(name) else { continue };
        if let Ok(value) = HeaderValue::from_bytes(value.trim_ascii())
            && LOGGED.contains(&name)
        {
            parts.headers.append(name, value);
        }
    }
    parts
}

fn request_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (method, rest) = split_at(line, b' ')?;
    let end = rest.windows(6).rposition(|bytes| bytes == b" HTTP/");
    // A target that is too long has no end here.
    let is_cut = rest.len() > LONG && rest.starts_with(b"/");
    Some((method, &rest[..end.or(is_cut.then_some(rest.len()))?]))
}

fn split_at(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(separator, bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_far_as_they_go() {
        for (head, method, target, host) in [
            (&b"GET /a?q=\"b\" HTTP/1.1\r\nHost: h\r\n\r\n"[..], "GET", "/a?q=%22b%22", Some("h")),
            (b"GET /\xff HTTP/1.1\r\nhost:h\r\nBad Name: x\r\n", "GET", "/%FF", Some("h")),
            (b"GET /a b HTTP/1.1\nHost: h\n\n", "GET", "/a%20b", Some("h")),
            (b"G\x01T /a HTTP/1.1\r\n\r\nHost: late", "-", "/a", None),
            (b"\x16\x03\x01\x02", "-", "/", None),
            (b"", "-", "/", None),
            (b"\r\n\r\nGET /a?b HTTP/1.1\r\nHost: h", "GET", "/a?b", Some("h")),
            (b"password=secret&user=a b", "-", "/", None),
            (b"GET", "-", "/", None),
        ] {
            let parts = read(head);
            let found = parts.headers.get(header::HOST).map(|host| host.to_str().expect("text"));
            assert_eq!(
                (parts.method.as_str(), &*parts.uri.to_string(), found),
                (method, target, host)
            );
        }
    }
}
