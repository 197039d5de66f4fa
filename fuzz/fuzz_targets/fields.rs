//! Request headers sent to an origin: whatever a viewer sends and a policy names, the origin receives no header
//! that it would trust as the edge's.

#![no_main]

use forebay::cache::key::{ForwardSpec, HeaderSpec, NameSpec};
use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(String, Vec<u8>)>, Vec<String>, bool)| {
    let (fields, names, all) = input;
    let mut request = Request::new(());
    for (name, value) in &fields {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
        {
            request.headers_mut().append(name, value);
        }
    }
    let names: Vec<HeaderName> =
        names.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
    let headers =
        if all { HeaderSpec::Except { names, added: Vec::new() } } else { HeaderSpec::Only(names) };
    let spec = ForwardSpec {
        headers,
        cookies: NameSpec::All,
        query: NameSpec::All,
        ..ForwardSpec::default()
    };
    let (parts, ()) = request.into_parts();
    let projection = spec.project(&parts, "media.example.com");
    for (name, value) in &projection.headers {
        // The name as an application behind CGI or WSGI reads it.
        let name = name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let name = name.as_str();
        assert!(!matches!(
            name,
            "x-real-ip" | "x-forwarded-proto" | "connection" | "te" | "via" | "range"
        ));
        assert!(!matches!(name, "transfer-encoding" | "content-length" | "upgrade" | "expect"));
        assert!(!name.starts_with("x-edge-") && !name.starts_with("x-amz-cf-"));
        assert!(name != "proxy" && !name.starts_with("proxy-"));
        assert!(!matches!(
            name,
            "if-match" | "if-none-match" | "if-modified-since" | "if-unmodified-since" | "if-range"
        ));
        assert!(name != "host" || value == "media.example.com");
    }
});
