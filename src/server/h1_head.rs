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

/// Parses bytes that are one whole GET or HEAD and nothing else, and that keep the connection open. Follows hyper's
/// rules.
pub(super) fn request(bytes: &[u8]) -> Option<Parts> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut fields);
    if !matches!(parsed, Ok(httparse::Status::Complete(length)) if length == bytes.len()) {
        return None;
    }
    let method = match request.method? {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        _ => return None,
    };
    if request.version != Some(1) {
        return None;
    }
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
        if has_more(&name, &value) {
            return None;
        }
        fields.append(name, value);
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.version) = (method, uri, Version::HTTP_11);
    parts.headers = fields;
    Some(parts)
}

/// Whether a field means that content follows, or that the connection closes or changes its protocol.
fn has_more(name: &HeaderName, value: &HeaderValue) -> bool {
    if *name == header::CONNECTION {
        return !value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
    }
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT].contains(name)
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

    #[test]
    fn only_whole_heads_without_content_are_read() {
        for (text, expected) in [
            ("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", true),
            ("\r\nGET /a HTTP/1.1\r\nHost: h\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("GET http://h/a HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\n", true),
            ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false),
            ("GET /a HTTP/1.1\r\nConnection: keep-alive\r\nConnection: upgrade\r\n\r\n", false),
            ("GET /a HTTP/1.0\r\nHost: h\r\n\r\n", false),
            ("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n", true),
            ("HEAD /a HTTP/1.0\r\nHost: h\r\n\r\n", false),
            ("head /a HTTP/1.1\r\nHost: h\r\n\r\n", false),
            ("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", false),
            ("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n", false),
            ("GET /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("GET /a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", false),
            ("GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET", false),
            ("GET /a HTTP/1.1\r\nHost: h\r\n\r\n\r\n", false),
            ("GET /a HTTP/1.1\r\nHost: h\r\n", false),
            ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", false),
            ("GET /a HTTP/1.1\r\nContent-Length : 4\r\n\r\n", false),
            ("GET /a HTTP/1.1\r\nA: b\r\n c\r\n\r\n", false),
            ("GET http://h: HTTP/1.1\r\nHost: h\r\n\r\n", true),
            ("GET /\u{1}a HTTP/1.1\r\nHost: h\r\n\r\n", false),
        ] {
            assert_eq!(request(text.as_bytes()).is_some(), expected, "{text:?}");
        }
        let many = "A: b\r\n".repeat(MAX_FIELDS + 1);
        assert!(request(format!("GET /a HTTP/1.1\r\n{many}\r\n").as_bytes()).is_none());
    }

    #[test]
    fn a_head_is_read_as_it_stands() {
        let head = "GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\n\r\n";
        let parts = request(head.as_bytes()).expect("a GET");
        assert_eq!((parts.uri.path(), parts.uri.query()), ("/a", Some("b")));
        assert_eq!(parts.headers["host"], "h");
        let values: Vec<_> = parts.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!((parts.method, parts.version), (Method::GET, Version::HTTP_11));
    }
}
