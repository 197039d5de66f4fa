//! Access restrictions, and the viewer address they apply to.

use std::time::Duration;

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    front::{certificates, connect},
    support::{
        edge::{Edge, Lines, config_for},
        script::Script,
        time::eventually,
        viewer::raw,
    },
};

const FRESH: &str = "Cache-Control: max-age=60";

async fn before(lines: &Lines<'_>) -> (Edge, Script) {
    let script = Script::start().await;
    script.then(200, &[FRESH], "content");
    (Edge::before_script(&script, lines), script)
}

/// Status of a request that a trusted proxy forwards for `client`.
async fn status_for(edge: &Edge, client: &str) -> u16 {
    edge.viewer().field("x-forwarded-for", client).get("/a").await.status.as_u16()
}

const TRUSTING: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

#[tokio::test]
async fn addresses_are_allowed_and_denied() {
    let distribution = "allow = [\"192.0.2.0/24\", \"2001:db8::/32\"]\ndeny = [\"192.0.2.66\"]";
    let lines = Lines { listen: TRUSTING, distribution, ..Lines::default() };
    let (edge, _script) = before(&lines).await;
    for (client, status) in [
        ("192.0.2.1", 200),
        ("2001:db8::1", 200),
        ("192.0.2.66", 403),
        ("198.51.100.1", 403),
        ("192.0.2.1, 198.51.100.1", 403),
        ("nonsense", 403),
    ] {
        assert_eq!(status_for(&edge, client).await, status, "{client}");
    }
    let metrics = edge.metrics().await;
    let refused = "forebay_refused_requests_total{reason=\"address-denied\"} 4";
    assert!(metrics.contains(refused), "{metrics}");
    // No proxy is trusted: a viewer's claims about its own address are ignored.
    let (edge, _script) = before(&Lines { distribution, ..Lines::default() }).await;
    assert_eq!(status_for(&edge, "192.0.2.1").await, 403);
}

#[tokio::test]
async fn clients_over_their_rate_get_429_with_retry_after() {
    let more = r#"
[distribution.rate_limit]
per_client = { requests = 1, per = "10s", burst = 2 }
"#;
    let (edge, _script) = before(&Lines { listen: TRUSTING, more, ..Lines::default() }).await;
    for status in [200, 200, 429, 429] {
        assert_eq!(status_for(&edge, "192.0.2.1").await, status);
    }
    let refused = edge.viewer().field("x-forwarded-for", "192.0.2.1").get("/a").await;
    assert_eq!((refused.status.as_u16(), refused.field("retry-after")), (429, "10"));
    assert_eq!(status_for(&edge, "192.0.2.2").await, 200);
    edge.clock.advance(Duration::from_secs(10));
    assert_eq!(status_for(&edge, "192.0.2.1").await, 200);
}

#[tokio::test]
async fn pages_of_other_sites_may_not_show_it() {
    let behavior = "referers = { allow = [\"example.com\"] }";
    let (edge, _script) = before(&Lines { behavior, ..Lines::default() }).await;
    for (referer, status) in [
        ("https://example.com/a", 200),
        ("https://other.test/", 403),
        ("https://example.com@x/", 403),
    ] {
        let answer = edge.viewer().field("referer", referer).get("/a").await;
        assert_eq!(answer.status.as_u16(), status, "{referer}");
    }
    assert_eq!(edge.get("/a").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_scheme_is_the_viewers_behind_a_trusted_proxy() {
    let behavior = "viewer_protocol_policy = \"https-only\"";
    let (edge, _script) = before(&Lines { listen: TRUSTING, behavior, ..Lines::default() }).await;
    for (scheme, status) in [("https", 200), ("http", 403), ("", 403)] {
        let answer = edge.viewer().field("x-forwarded-proto", scheme).get("/a").await;
        assert_eq!(answer.status.as_u16(), status, "{scheme}");
    }
}

async fn proxied(edge: &Edge, header: &[u8]) -> String {
    let request = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    raw(edge.address, &[header, request].concat()).await
}

#[tokio::test]
async fn a_proxy_header_tells_the_viewers_address() {
    let listen = "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = true";
    let distribution = "allow = [\"203.0.113.9\"]";
    let (edge, _script) = before(&Lines { listen, distribution, ..Lines::default() }).await;
    let binary = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb],
    ]
    .concat();
    for (header, expected) in [
        (&b"PROXY TCP4 203.0.113.9 10.0.0.1 4660 443\r\n"[..], "HTTP/1.1 200"),
        (&binary, "HTTP/1.1 200"),
        (b"PROXY TCP4 203.0.113.8 10.0.0.1 4660 443\r\n", "HTTP/1.1 403"),
        (b"PROXY UNKNOWN\r\n", "HTTP/1.1 403"),
        (b"", ""),
    ] {
        let answer = proxied(&edge, header).await;
        assert!(answer.starts_with(expected), "{answer}");
        assert_eq!(answer.is_empty(), expected.is_empty(), "{answer}");
    }
}

#[tokio::test]
async fn others_may_not_put_a_proxy_header() {
    let listen = "trusted_proxies = [\"192.0.2.1\"]\nproxy_protocol = true";
    let (edge, _script) = before(&Lines { listen, ..Lines::default() }).await;
    let answer = proxied(&edge, b"PROXY TCP4 203.0.113.9 10.0.0.1 4660 443\r\n").await;
    assert_eq!(answer, "");
}

#[tokio::test]
async fn a_proxy_header_that_never_comes_does_not_hold_a_connection() {
    let listen =
        "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = true\nhandshake_timeout = \"200ms\"";
    let (edge, _script) = before(&Lines { listen, ..Lines::default() }).await;
    let mut stream = TcpStream::connect(edge.address).await.expect("connected");
    stream.write_all(b"PROXY TCP4").await.expect("written");
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "it is still open");
}

#[tokio::test]
async fn the_origin_gets_facts_about_viewers_that_they_cannot_forge() {
    let behavior = "origin_request_policy = \"AllViewerAndCloudFrontHeaders-2022-06\"";
    let (edge, script) = before(&Lines { listen: TRUSTING, behavior, ..Lines::default() }).await;
    let viewer = edge.viewer().field("x-forwarded-for", "203.0.113.9");
    let viewer =
        viewer.field("x-forwarded-proto", "https").field("cloudfront-viewer-country", "XX");
    viewer.field("user-agent", "Mozilla/5.0 (iPhone) Mobile").get("/a").await;
    let received = script.last();
    for (name, value) in [
        ("cloudfront-viewer-address", "203.0.113.9"),
        ("cloudfront-viewer-http-version", "1.1"),
        ("cloudfront-forwarded-proto", "https"),
        ("cloudfront-is-mobile-viewer", "true"),
        ("cloudfront-is-desktop-viewer", "false"),
        ("x-forwarded-for", "203.0.113.9, 127.0.0.1"),
    ] {
        assert_eq!(
            received.get(name).map(http::HeaderValue::as_bytes),
            Some(value.as_bytes()),
            "{name}"
        );
    }
    assert!(!received.contains_key("cloudfront-viewer-country"), "there is no database");
    assert!(!received.contains_key("cloudfront-viewer-tls"), "the proxy ends TLS");
    for (path, client, expected) in [
        ("/b", "203.0.113.9:4711", "203.0.113.9:4711"),
        ("/c", "[2001:db8::7]:443", "2001:db8::7:443"),
        ("/d", "[2001:db8::7]", "2001:db8::7"),
    ] {
        script.then(200, &[], "");
        edge.viewer().field("x-forwarded-for", client).get(path).await;
        assert_eq!(script.last()["cloudfront-viewer-address"], expected);
    }
    // With AllViewer the origin gets the viewer's headers, but none of this kind.
    let behavior = "origin_request_policy = \"AllViewer\"";
    let (edge, script) = before(&Lines { behavior, ..Lines::default() }).await;
    edge.viewer().field("cloudfront-viewer-country", "XX").get("/a").await;
    assert!(script.last().keys().all(|name| !name.as_str().starts_with("cloudfront-")));
}

#[tokio::test]
async fn fields_of_ones_own_take_the_place_of_the_viewers() {
    let origin = "[distribution.origin.custom_headers]\nX-Secret = \"of the edge\"";
    let behavior = "origin_request_policy = \"AllViewer\"";
    let (edge, script) = before(&Lines { origin, behavior, ..Lines::default() }).await;
    edge.viewer().field("x-secret", "invented").get("/a").await;
    let received = script.last();
    let values: Vec<_> = received.get_all("x-secret").iter().collect();
    assert_eq!(values, ["of the edge"]);
}

#[tokio::test]
async fn the_order_of_query_strings_can_be_made_not_to_matter() {
    let top = "[[cache_policy]]\nname = \"sorted\"\nquery_strings = \"all\"\nsort_query = true";
    let (edge, script) = before(&Lines { top, policy: Some("sorted"), ..Lines::default() }).await;
    for query in ["b=2&a=1&b=1", "a=1&b=2&b=1", "&b=2&&b=1&a=1"] {
        assert_eq!(edge.get(&format!("/a?{query}")).await.status, StatusCode::OK, "{query}");
    }
    assert_eq!(script.requests(), 1);
    script.then(200, &[FRESH], "another");
    // Values of one name keep their order.
    assert_eq!(edge.get("/a?a=1&b=1&b=2").await.content, "another");
}

/// A bucket that accepts any request and records it.
async fn bucket(signing: &str) -> (Edge, Script) {
    let script = Script::start().await;
    let text = config_for(script.address, "", "");
    let text = text.replace(
        "region = \"us-east-1\"",
        &format!("region = \"us-east-1\"\nsigning = \"{signing}\"\npath_style = true"),
    );
    let top = "[[cache_policy]]\nname = \"by-bearer\"\nmin_ttl = \"1s\"\nheaders = [\"Authorization\"]\n[[distribution]]";
    let text = text.replace("[[distribution]]", top).replace("CachingOptimized", "by-bearer");
    (Edge::with(&text), script)
}

#[tokio::test]
async fn requests_for_a_bucket_are_signed_as_the_origin_says() {
    for (signing, bearer, expected) in [
        ("always", "", "AWS4-HMAC-SHA256"),
        ("always", "Bearer a", "AWS4-HMAC-SHA256"),
        ("never", "", ""),
        ("never", "Bearer a", ""),
        ("no-override", "", "AWS4-HMAC-SHA256"),
        ("no-override", "Bearer a", "Bearer a"),
    ] {
        let (edge, script) = bucket(signing).await;
        script.then(200, &[FRESH, "ETag: \"1\""], "content");
        let viewer = edge.viewer();
        let viewer = if bearer.is_empty() { viewer } else { viewer.field("authorization", bearer) };
        assert_eq!(viewer.get("/a").await.content, "content");
        let received = script.last();
        let values: Vec<_> = received.get_all("authorization").iter().collect();
        assert_eq!(
            values.len(),
            usize::from(!expected.is_empty()),
            "{signing} {bearer}: {values:?}"
        );
        assert!(values.iter().all(|value| value.as_bytes().starts_with(expected.as_bytes())));
        assert_eq!(received.contains_key("x-amz-date"), expected.starts_with("AWS4"));
    }
}

#[tokio::test]
async fn who_bears_an_authorization_of_its_own_has_a_copy_of_its_own() {
    let (edge, script) = bucket("no-override").await;
    for content in ["for a", "for b"] {
        script.then(200, &[FRESH, "ETag: \"1\""], content);
    }
    for _ in 0..2 {
        for (bearer, content) in [("Bearer a", "for a"), ("Bearer b", "for b")] {
            let viewer = edge.viewer().field("authorization", bearer);
            assert_eq!(viewer.get("/a").await.content, content);
        }
    }
    assert_eq!(script.requests(), 2);
}

#[tokio::test]
async fn a_disabled_behavior_answers_403() {
    let more = "[[distribution.behavior]]\npath_pattern = \"/closed/*\"\norigin = \"app\"\ncache_policy = \"CachingOptimized\"\nenabled = false";
    let (edge, script) = before(&Lines { more, ..Lines::default() }).await;
    let closed = edge.get("/closed/a").await;
    assert_eq!(closed.status, StatusCode::FORBIDDEN);
    assert_eq!(closed.field("cache-status"), "Forebay; detail=behavior-disabled");
    assert_eq!(script.requests(), 0);
    assert_eq!(edge.get("/open").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_origin_gets_the_viewers_connection_and_the_order_of_its_fields() {
    let certificates = certificates();
    let path = certificates.path().display();
    let listen = format!(
        "https = \"127.0.0.1:0\"\ntls = {{ certificate = \"{path}/one.pem\", key = \"{path}/one.key\" }}"
    );
    let top = "[[origin_request_policy]]\nname = \"all\"\ncloudfront_headers = \"all\"";
    let behavior = "origin_request_policy = \"all\"";
    let (edge, script) =
        before(&Lines { listen: &listen, top, behavior, ..Lines::default() }).await;
    let host = "one.example.com";
    let stream = connect(edge.running().https[0], &certificates, "one", host, "http/1.1").await;
    let mut stream = stream.expect("handshake");
    let port = stream.get_ref().0.local_addr().expect("address").port();
    for (path, handshake) in [("/a", "fullHandshake"), ("/b", "connectionReused")] {
        script.then(200, &[], "");
        let fields = format!("User-Agent: x\r\nHost: {host}\r\nAccept: a\r\nAccept: b\r\nX-Own: 1");
        let request = format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n");
        let requests = script.requests();
        stream.write_all(request.as_bytes()).await.expect("sent");
        eventually(|| script.requests() > requests).await;
        let received = script.last();
        let version = "TLSv1.3:TLS_AES_128_GCM_SHA256:TLSv1.3:TLS_AES_256_GCM_SHA384";
        let tls = received["cloudfront-viewer-tls"].to_str().expect("text");
        let (session, kind) = tls.rsplit_once(':').expect("three parts");
        assert!(version.contains(session) && kind == handshake, "{tls}");
        assert_eq!(received["cloudfront-viewer-address"], format!("127.0.0.1:{port}"));
        let order = "user-agent:host:accept:accept:x-own";
        assert_eq!(received["cloudfront-viewer-header-order"], order);
        assert_eq!(received["cloudfront-viewer-header-count"], "5");
        let mut answer = [0; 4096];
        assert!(stream.read(&mut answer).await.expect("an answer") > 0);
    }
}

#[tokio::test]
async fn a_viewer_cannot_take_away_what_the_edge_says_of_it() {
    let behavior = "origin_request_policy = \"AllViewerAndCloudFrontHeaders-2022-06\"";
    let (edge, script) = before(&Lines { behavior, ..Lines::default() }).await;
    let names = "cloudfront-viewer-address, x-forwarded-for, x-own";
    edge.viewer().field("connection", names).field("x-own", "1").get("/a").await;
    let received = script.last();
    assert!(
        received.contains_key("cloudfront-viewer-address")
            && received.contains_key("x-forwarded-for")
    );
    assert!(!received.contains_key("x-own"));
}

#[tokio::test]
async fn origins_see_which_networks_passed_a_request_on() {
    let (edge, script) = before(&Lines::default()).await;
    edge.viewer().field("via", "1.1 other").field("cdn-loop", "other").get("/a").await;
    let received = script.last();
    let lines = |name| -> Vec<&str> {
        received.get_all(name).iter().map(|line| line.to_str().expect("text")).collect()
    };
    let own = forebay::base::instance::pseudonym();
    assert_eq!(lines("via"), [&format!("1.1 {own}")]);
    assert_eq!(lines("cdn-loop"), ["other", own]);
}
