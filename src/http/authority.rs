//! The target of a request: its host and its length.

use http::{header, request::Parts, uri::Authority};

/// The length of a request's path and query in bytes.
pub(crate) fn target_length(request: &Parts) -> usize {
    request.uri.path().len() + request.uri.query().map_or(0, |query| query.len() + 1)
}

/// The length of a request's head in bytes, as HTTP/1.1 writes it.
pub(crate) fn head_length(request: &Parts) -> usize {
    let fields = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    target_length(request) + fields.sum::<usize>()
}

/// The host and port of a request. RFC 9112 §3.2: there is exactly one `Host`, and an absolute target must match it.
pub(crate) fn authority(request: &Parts) -> Option<&str> {
    let fields = &request.headers;
    // If the names are as many as the lines, none is repeated.
    let may_repeat = fields.len() > fields.keys_len();
    if may_repeat && fields.get_all(header::HOST).iter().nth(1).is_some() {
        return None;
    }
    let field = match fields.get(header::HOST) {
        Some(value) => Some(value.to_str().ok()?),
        None => None,
    };
    let target = request.uri.authority().map(Authority::as_str);
    match (target, field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => None,
        (Some(authority), _) | (None, Some(authority)) => Some(authority),
        (None, None) => None,
    }
}

/// The authority's host, without port.
pub(crate) fn host(authority: &str) -> Option<&str> {
    let host = without_port(authority)?;
    let valid = |byte: u8| {
        byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']')
    };
    // Without an early exit the compiler vectorizes the loop.
    let all_valid = host.bytes().fold(true, |all, byte| all & valid(byte));
    // Outside brackets, a colon would start a port.
    let valid_colons = host.starts_with('[') || !host.contains(':');
    (!host.is_empty() && valid_colons && all_valid).then_some(host)
}

fn without_port(authority: &str) -> Option<&str> {
    let bytes = authority.as_bytes();
    let colon = bytes.iter().rposition(|byte| matches!(byte, b':' | b']'));
    let host = match colon {
        Some(colon) if bytes[colon] == b':' => {
            let digits = bytes[colon + 1..].iter().all(u8::is_ascii_digit);
            digits.then_some(&authority[..colon])?
        }
        _ => authority,
    };
    Some(host.strip_suffix('.').unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn host_of(uri: &str, hosts: &[&str]) -> Option<String> {
        let mut request = Request::builder().uri(uri);
        for value in hosts {
            request = request.header("host", *value);
        }
        let request = request.body(()).expect("request").into_parts().0;
        authority(&request).and_then(host).map(str::to_owned)
    }

    #[test]
    fn there_must_be_one_host() {
        for (uri, hosts, expected) in [
            ("/", &["a.example"][..], Some("a.example")),
            ("/", &["a.example:8080"], Some("a.example")),
            ("/", &["a.example."], Some("a.example")),
            ("/", &["[::1]:80"], Some("[::1]")),
            ("http://a.example/", &[], Some("a.example")),
            ("http://a.example/", &["A.example"], Some("a.example")),
            ("http://a.example/", &["b.example"], None),
            ("/", &[], None),
            ("/", &["a.example", "a.example"], None),
            ("/", &["a.example:x"], None),
            ("/", &["a.example:1:2"], None),
            ("/", &["::1"], None),
            ("/", &["user@a.example"], None),
            ("/", &["a/b"], None),
            ("/", &[""], None),
        ] {
            assert_eq!(host_of(uri, hosts).as_deref(), expected, "{uri} {hosts:?}");
        }
    }
}
