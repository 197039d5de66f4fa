//! Requests to switch protocols, such as to WebSocket (RFC 9110 §7.8).

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts};

use super::fields::connection_names;

/// The protocols that a viewer's connection may switch to, as one list; `None` if the request names none.
///
/// HTTP and TLS are not among them: inside a connection that Forebay passes on unread, neither access control nor the
/// cache would see requests. RFC 9113 §3.1 has made `h2c` obsolete.
#[must_use]
pub fn requested(request: &Parts) -> Option<HeaderValue> {
    let fields = &request.headers;
    // Nearly all requests lack this field.
    if !fields.contains_key(header::UPGRADE)
        || request.version != Version::HTTP_11
        || request.method == Method::HEAD
        || !is_of_connection(fields)
    {
        return None;
    }
    let is_carried = |name: &&str| {
        let name = name.split('/').next().unwrap_or_default().to_ascii_lowercase();
        name != "http" && name != "tls" && !name.starts_with("h2")
    };
    let protocols: Vec<&str> = protocols(fields)?.into_iter().filter(is_carried).collect();
    if protocols.is_empty() { None } else { HeaderValue::try_from(protocols.join(", ")).ok() }
}

/// The protocol in a 101 response, if it is one of those that were `requested`.
#[must_use]
pub fn accepted(requested: &HeaderValue, response: &HeaderMap) -> Option<HeaderValue> {
    let requested = requested.to_str().ok()?;
    let accepted = protocols(response).filter(|_| is_of_connection(response))?;
    let is_requested =
        |name: &&str| requested.split(", ").any(|other| other.eq_ignore_ascii_case(name));
    match &accepted[..] {
        [name] if is_requested(name) => HeaderValue::try_from(*name).ok(),
        _ => None,
    }
}

/// Whether `Connection` names the field, as it must.
fn is_of_connection(fields: &HeaderMap) -> bool {
    connection_names(fields).contains(&header::UPGRADE)
}

/// The members of `Upgrade`; `None` if one is malformed.
fn protocols(fields: &HeaderMap) -> Option<Vec<&str>> {
    let mut protocols = Vec::new();
    for line in fields.get_all(header::UPGRADE) {
        let members = line.to_str().ok()?.split(',').map(str::trim);
        protocols.extend(members.filter(|member| !member.is_empty()));
    }
    // The name of a field is a token, too.
    let is_token = |text: &str| HeaderName::from_bytes(text.as_bytes()).is_ok();
    let is_protocol = |member: &&str| match member.split_once('/') {
        Some((name, version)) => is_token(name) && is_token(version),
        None => is_token(member),
    };
    protocols.iter().all(is_protocol).then_some(protocols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    }

    fn request(lines: &[(&'static str, &'static str)]) -> Parts {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.headers = fields(lines);
        parts
    }

    #[test]
    fn only_a_connection_field_makes_it_a_request() {
        for (connection, upgrade, expected) in [
            ("upgrade", "websocket", Some("websocket")),
            ("keep-alive, Upgrade", "websocket", Some("websocket")),
            ("keep-alive", "websocket", None),
            ("upgrade", "", None),
            ("upgrade", "web socket", None),
            ("upgrade", "tcp/", None),
            ("upgrade", "irc/6.9, RTA/x11", Some("irc/6.9, RTA/x11")),
        ] {
            let request = request(&[("connection", connection), ("upgrade", upgrade)]);
            let requested = requested(&request);
            assert_eq!(requested.as_ref().map(|value| value.to_str().expect("text")), expected);
        }
        assert_eq!(requested(&request(&[("upgrade", "websocket")])), None);
    }

    #[test]
    fn http_and_tls_are_not_carried() {
        for (upgrade, expected) in [
            ("h2c", None),
            ("HTTP/2.0", None),
            ("TLS/1.0, http/1.1", None),
            ("h2, h2c-14", None),
            ("H2C, websocket", Some("websocket")),
        ] {
            let request = request(&[("connection", "upgrade"), ("upgrade", upgrade)]);
            let requested = requested(&request);
            assert_eq!(requested.as_ref().map(|value| value.to_str().expect("text")), expected);
        }
    }

    #[test]
    fn only_http_1_1_requests_other_than_head_switch_protocols() {
        let mut request = request(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        assert!(requested(&request).is_some());
        for version in [Version::HTTP_10, Version::HTTP_2, Version::HTTP_3] {
            request.version = version;
            assert_eq!(requested(&request), None);
        }
        request.version = Version::HTTP_11;
        request.method = Method::HEAD;
        assert_eq!(requested(&request), None);
    }

    #[test]
    fn a_response_accepts_one_of_the_requested_protocols() {
        let requested = HeaderValue::from_static("websocket, irc");
        for (connection, upgrade, expected) in [
            ("upgrade", "WebSocket", Some("WebSocket")),
            ("upgrade", "irc", Some("irc")),
            ("close", "irc", None),
            ("upgrade", "h2c", None),
            ("upgrade", "websocket, irc", None),
            ("upgrade", "", None),
        ] {
            let response = fields(&[("connection", connection), ("upgrade", upgrade)]);
            let accepted = accepted(&requested, &response);
            assert_eq!(accepted.as_ref().map(|value| value.to_str().expect("text")), expected);
        }
    }
}
