//! Requests of web pages in an operator's browser.

use std::net::IpAddr;

use http::{HeaderValue, header, request::Parts};

use crate::http::authority::{authority, host};

/// Where the dashboard sends its requests, besides `/api/`.
const OF_DASHBOARD: [&str; 2] = ["/purge", "/explain"];

/// What browsers say of a request of the same origin, or of one that the user made, such as by a bookmark (Fetch Metadata
/// Request Headers, section 2.4).
const OWN: [&[u8]; 2] = [b"same-origin", b"none"];

/// Whether a request is one that the dashboard makes.
pub(super) fn is_of_dashboard(request: &Parts) -> bool {
    let path = request.uri.path();
    path.starts_with("/api/") || OF_DASHBOARD.contains(&path)
}

/// Whether a page made a request that is not the dashboard, or for something that the dashboard does not do.
pub(super) fn is_foreign(request: &Parts) -> bool {
    let fields = &request.headers;
    let sites = fields.get_all("sec-fetch-site").iter().map(HeaderValue::as_bytes);
    if sites.into_iter().any(|site| !OWN.contains(&site)) {
        return true;
    }
    let mut origins = fields.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => false,
        (Some(origin), None) => !(is_of_dashboard(request) && is_same(origin, request)),
        (Some(_), Some(_)) => true,
    }
}

/// Whether an origin is that of the request. The scheme is not compared: a proxy may have ended TLS.
fn is_same(origin: &HeaderValue, request: &Parts) -> bool {
    let Some((scheme, origin)) = origin.to_str().ok().and_then(|text| text.split_once("://"))
    else {
        return false;
    };
    let is_web = matches!(scheme, "http" | "https");
    is_web && authority(request).is_some_and(|own| own.eq_ignore_ascii_case(origin))
}

/// Whether the host of a request is an address or `localhost`. A name can be made to lead to this machine, so that a page
/// under that name would be of the same origin.
pub(super) fn has_literal_host(request: &Parts) -> bool {
    let Some(host) = authority(request).and_then(host) else { return false };
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn request(path: &'static str, fields: &[(&'static str, &'static str)]) -> Parts {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.uri = path.parse().expect("a path");
        for (name, value) in fields {
            parts.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        parts
    }

    #[test]
    fn only_the_dashboard_may_make_its_own_requests() {
        let host = ("host", "edge:9145");
        for (path, fields, is_refused) in [
            ("/purge", &[host][..], false),
            ("/purge", &[host, ("origin", "http://edge:9145")], false),
            ("/purge", &[host, ("origin", "https://EDGE:9145")], false),
            ("/purge", &[host, ("origin", "http://edge:9146")], true),
            ("/purge", &[host, ("origin", "ftp://edge:9145")], true),
            ("/purge", &[host, ("origin", "null")], true),
            ("/purge", &[("origin", "http://edge:9145")], true),
            ("/purge", &[host, ("origin", "http://edge:9145"), ("origin", "http://b")], true),
            ("/reload", &[host, ("origin", "http://edge:9145")], true),
            ("/2020-05-31/distribution", &[host, ("origin", "http://edge:9145")], true),
            ("/api/top", &[host, ("sec-fetch-site", "same-origin")], false),
            ("/api/top", &[host, ("sec-fetch-site", "none")], false),
            ("/api/top", &[host, ("sec-fetch-site", "same-site")], true),
            ("/api/top", &[host, ("sec-fetch-site", "cross-site")], true),
        ] {
            assert_eq!(is_foreign(&request(path, fields)), is_refused, "{path} {fields:?}");
        }
    }

    #[test]
    fn names_are_no_addresses() {
        for (host, expected) in [
            ("127.0.0.1:9145", true),
            ("127.0.0.1", true),
            ("[::1]:9145", true),
            ("localhost:9145", true),
            ("LOCALHOST", true),
            ("localhost:x", false),
            ("127.0.0.1.evil.example", false),
            ("edge", false),
            ("", false),
        ] {
            assert_eq!(has_literal_host(&request("/", &[("host", host)])), expected, "{host}");
        }
    }
}
