//! Parses a request head, if one read contains all of it.

use std::{cell::RefCell, mem::MaybeUninit};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request::Parts,
};

/// The most fields in a request head.
pub(super) const MAX_FIELDS: usize = 128;

/// Minimum capacity for fields: the response's fields are written into the request's map.
const USUAL: usize = 16;

/// The kind of data in one read.
#[expect(clippy::large_enum_variant, reason = "it is looked at once, where it is made")]
pub(super) enum Read {
    /// One whole GET or HEAD and nothing else, after which the connection stays open.
    Request(Parts),
    /// Another whole head without content, and nothing else.
    Whole,
    /// Anything else.
    Other,
}

impl Read {
    /// Parses by the same rules as hyper.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(bytes, &mut fields);
        if !matches!(parsed, Ok(httparse::Status::Complete(length)) if length == bytes.len()) {
            return Self::Other;
        }
        let method = match request.method {
            Some("GET") => Some(Method::GET),
            Some("HEAD") => Some(Method::HEAD),
            _ => None,
        };
        let ours = method.is_some() && request.version == Some(1);
        let mut verdict = Verdict { ours, ends: true };
        let method = method.unwrap_or_default();
        match parts(bytes, &request, method, &mut verdict).filter(|_| verdict.ends) {
            Some(parts) if verdict.ours => Self::Request(parts),
            Some(_) => Self::Whole,
            None => Self::Other,
        }
    }
}

/// The effect of the fields on the connection.
struct Verdict {
    /// The connection stays open and keeps its protocol.
    ours: bool,
    /// The request ends with its head.
    ends: bool,
}

impl Verdict {
    fn hear(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == header::CONNECTION {
            self.ours &= value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
        } else if [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT].contains(name)
        {
            self.ends = false;
        }
    }
}

fn parts(
    bytes: &[u8],
    request: &httparse::Request<'_, '_>,
    method: Method,
    verdict: &mut Verdict,
) -> Option<Parts> {
    let text = shared(bytes);
    let part = |part: &[u8]| {
        let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
        text.slice(start..start + part.len())
    };
    let uri = Uri::from_maybe_shared(part(request.path?.as_bytes())).ok()?;
    let mut fields = HeaderMap::with_capacity(request.headers.len().max(USUAL));
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(part(field.value)).ok()?;
        verdict.hear(&name, &value);
        fields.append(name, value);
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.version) = (method, uri, Version::HTTP_11);
    parts.headers = fields;
    Some(parts)
}

/// Copies the bytes into a buffer that several heads share, to save allocations.
fn shared(bytes: &[u8]) -> Bytes {
    const PAGE: usize = 8192;
    thread_local! {
        static TEXT: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(PAGE));
    }
    TEXT.with_borrow_mut(|text| {
        if text.capacity() < bytes.len() {
            *text = BytesMut::with_capacity(PAGE.max(bytes.len()));
        }
        text.extend_from_slice(bytes);
        text.split().freeze()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> &'static str {
        match Read::of(text.as_bytes()) {
            Read::Request(parts) if parts.method == Method::HEAD => "head",
            Read::Request(_) => "get",
            Read::Whole => "whole",
            Read::Other => "other",
        }
    }

    #[test]
    fn only_whole_heads_without_content_are_told_apart() {
        for (text, expected) in [
            ("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "get"),
            ("\r\nGET /a HTTP/1.1\r\nHost: h\r\nConnection: Keep-Alive\r\n\r\n", "get"),
            ("GET http://h/a HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\n", "get"),
            ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "whole"),
            ("GET /a HTTP/1.1\r\nConnection: keep-alive\r\nConnection: upgrade\r\n\r\n", "whole"),
            ("GET /a HTTP/1.0\r\nHost: h\r\n\r\n", "whole"),
            ("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n", "head"),
            ("HEAD /a HTTP/1.0\r\nHost: h\r\n\r\n", "whole"),
            ("head /a HTTP/1.1\r\nHost: h\r\n\r\n", "whole"),
            ("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "other"),
            ("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n", "other"),
            ("GET /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "other"),
            ("GET /a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", "other"),
            ("GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET", "other"),
            ("GET /a HTTP/1.1\r\nHost: h\r\n\r\n\r\n", "other"),
            ("GET /a HTTP/1.1\r\nHost: h\r\n", "other"),
            ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "other"),
            ("GET /a HTTP/1.1\r\nContent-Length : 4\r\n\r\n", "other"),
            ("GET /a HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "other"),
            ("GET http://h: HTTP/1.1\r\nHost: h\r\n\r\n", "get"),
            ("GET /\u{1}a HTTP/1.1\r\nHost: h\r\n\r\n", "other"),
        ] {
            let text = text.to_owned();
            assert_eq!(verdict(&text), expected, "{text:?}");
        }
        let many = "A: b\r\n".repeat(MAX_FIELDS + 1);
        assert_eq!(verdict(&format!("GET /a HTTP/1.1\r\n{many}\r\n")), "other");
    }

    #[test]
    fn a_head_is_read_as_it_stands() {
        let head = "GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\n\r\n";
        let Read::Request(parts) = Read::of(head.as_bytes()) else { panic!("a GET") };
        assert_eq!((parts.uri.path(), parts.uri.query()), ("/a", Some("b")));
        assert_eq!(parts.headers["host"], "h");
        let values: Vec<_> = parts.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!((parts.method, parts.version), (Method::GET, Version::HTTP_11));
    }
}
