//! A plain HTTP origin: any method, streamed bodies, and only what the policy names.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::edge::{Edge, LISTEN};

type Seen = Arc<Mutex<Vec<(String, Bytes)>>>;

/// An echo server that records each request as text.
async fn origin() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let remembered = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&remembered);
            let service =
                service_fn(move |request: Request<Incoming>| answer(request, Arc::clone(&seen)));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, seen)
}

async fn answer(
    request: Request<Incoming>,
    seen: Seen,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let content = body.collect().await?.to_bytes();
    let mut fields: Vec<String> = parts
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default()))
        .collect();
    fields.sort();
    let text = format!("{} {} {}", parts.method, parts.uri, fields.join(" | "));
    seen.lock().expect("lock").push((text, content.clone()));
    let response = Response::builder()
        .header("x-origin", "kept")
        .header("connection", "x-hop")
        .header("x-hop", "dropped")
        .header("cache-control", "max-age=60");
    let status = if parts.uri.path() == "/base/teapot" { 418 } else { 200 };
    Ok(response.status(status).body(Full::from(content)).expect("response"))
}

/// Answers each connection with the next response, then closes it.
pub(crate) async fn scripted(answers: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut request = [0; 4096];
            while stream.read(&mut request).await.expect("request") == 0 {}
            stream.write_all(answer.as_bytes()).await.expect("written");
        }
    });
    address
}

pub(crate) fn ok(fields: &str, length: usize, content: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n\r\n{content}"
    )
}

#[tokio::test]
async fn a_304_about_another_version_renews_nothing() {
    let address = scripted(vec![
        ok("ETag: \"v1\"\r\nCache-Control: max-age=5", 3, "one"),
        "HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: \"v2\"\r\n\r\n".to_owned(),
        ok("ETag: \"v2\"\r\nCache-Control: max-age=5", 3, "two"),
    ])
    .await;
    let edge = Edge::with(&config(address));
    assert_eq!(edge.get("/a").await.content, "one");
    edge.clock.advance(std::time::Duration::from_secs(6));
    let renewed = edge.get("/a").await;
    assert_eq!((&renewed.content[..], renewed.field("etag")), (&b"two"[..], "\"v2\""));
}

#[tokio::test]
async fn a_cut_answer_without_validators_is_fetched_anew() {
    let fields = "Cache-Control: max-age=60";
    let address =
        scripted(vec![ok(fields, 100_000, "01234"), ok(fields, 12, "abcdefghijkl")]).await;
    let edge = Edge::with(&config(address));
    assert!(edge.get("/a").await.aborted);
    assert_eq!(edge.get("/a").await.content, "abcdefghijkl");
    assert_eq!(edge.get("/a").await.x_cache(), "Hit");
}

#[tokio::test]
async fn a_small_answer_that_is_cut_is_an_error_not_half_an_answer() {
    let fields = "Cache-Control: max-age=60";
    let of_unknown_length = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{fields}\r\n\r\n5\r\n01234\r\n"
    );
    for cut in [ok(fields, 10, "01234"), of_unknown_length] {
        let edge = Edge::with(&config(scripted(vec![cut, ok(fields, 12, "abcdefghijkl")]).await));
        let answer = edge.get("/a").await;
        assert_eq!((answer.status.as_u16(), answer.aborted), (502, false));
        assert!(answer.field("cache-status").contains("origin-read"), "{answer:?}");
        assert_eq!(edge.get("/a").await.content, "abcdefghijkl");
        assert_eq!(edge.get("/a").await.x_cache(), "Hit");
    }
}

#[tokio::test]
async fn a_part_at_the_wrong_place_is_not_stored() {
    let part = |range: &str, content: &str| {
        format!(
            "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nETag: \"a\"\r\nContent-Length: {}\r\nContent-Range: bytes {range}/10\r\n\r\n{content}",
            content.len()
        )
    };
    let address =
        scripted(vec![part("2-4", "234"), part("5-6", "56"), ok("ETag: \"a\"", 10, "0123456789")])
            .await;
    let edge = Edge::with(&config(address));
    let answer = edge.viewer().field("range", "bytes=5-6").get("/a").await;
    assert_eq!((answer.field("content-range"), &answer.content[..]), ("bytes 5-6/10", &b"56"[..]));
    edge.clock.advance(std::time::Duration::from_secs(11));
    assert_eq!(edge.get("/a").await.content, "0123456789");
}

pub(crate) fn config(origin: SocketAddr) -> String {
    format!(
        r#"{LISTEN}
[[cache_policy]]
name = "own"
query_strings = {{ whitelist = ["w"] }}
headers = ["X-Tenant"]
cookies = {{ whitelist = ["lang"] }}
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "app"
url = "http://{origin}"
signing = "never"
origin_path = "/base"
[distribution.default_behavior]
origin = "app"
cache_policy = "own"
allowed_methods = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"]
[[distribution.behavior]]
path_pattern = "/read/*"
origin = "app"
cache_policy = "CachingDisabled"
"#
    )
}

#[tokio::test]
async fn only_what_the_policy_names_reaches_the_origin() {
    let (address, seen) = origin().await;
    let edge = Edge::with(&config(address));
    let ask = |tracking: &'static str| {
        edge.viewer()
            .field("x-tenant", "t1")
            .field("x-other", tracking)
            .field("authorization", "Bearer secret")
            .field("cookie", "session=1; lang=de")
            .field("x-amz-security-token", "evil")
            .get("/a%20b?w=5&utm=1")
    };
    assert_eq!(ask("1").await.x_cache(), "Miss");
    let hit = ask("2").await;
    assert_eq!((hit.x_cache(), hit.field("x-origin"), hit.field("x-hop")), ("Hit", "kept", ""));
    let (request, _) = seen.lock().expect("lock")[0].clone();
    let (version, own) = (env!("CARGO_PKG_VERSION"), forebay::base::instance::pseudonym());
    let expected = format!(
        "GET /base/a%20b?w=5 cdn-loop: {own} | cookie: lang=de | host: {address} | user-agent: forebay/{version} | via: 1.1 {own} | x-tenant: t1"
    );
    assert_eq!(request, expected);
    let other = edge.viewer().field("x-tenant", "t2").get("/a%20b?w=5").await;
    assert_eq!(other.x_cache(), "Miss");
}

#[tokio::test]
async fn bodies_are_streamed_through_and_success_invalidates() {
    let (address, seen) = origin().await;
    let edge = Edge::with(&config(address));
    edge.get("/item").await;
    assert_eq!(edge.get("/item").await.x_cache(), "Hit");
    let content = crate::support::viewer::pattern(3 << 20);
    let viewer = edge.viewer().field("content-type", "image/png");
    let posted = viewer.send("POST", "/item", content.clone()).await;
    assert_eq!((posted.status, posted.content), (StatusCode::OK, content.clone()));
    assert_eq!(seen.lock().expect("lock")[1].1, content);
    assert!(seen.lock().expect("lock")[1].0.contains("content-type: image/png"));
    assert_eq!(edge.get("/item").await.x_cache(), "Miss");
}

#[tokio::test]
async fn content_that_waits_to_be_asked_for_is_asked_for() {
    let (address, seen) = origin().await;
    let edge = Edge::with(&config(address));
    let mut stream = tokio::net::TcpStream::connect(edge.address).await.expect("connected");
    let head = "PUT /item HTTP/1.1\r\nHost: media.example.com\r\nContent-Length: 3\r\n\
                Expect: 100-continue\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("abc"), "{answer}");
    assert_eq!(seen.lock().expect("lock")[0].1, "abc");
    assert!(!seen.lock().expect("lock")[0].0.contains("expect"));
}

#[tokio::test]
async fn interim_answers_of_the_origin_break_nothing() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let fields = "Cache-Control: max-age=60";
    let address = scripted(vec![format!("{hints}{}", ok(fields, 3, "one"))]).await;
    let edge = Edge::with(&config(address));
    for expected in ["Miss", "Hit"] {
        let answer = edge.get("/a").await;
        assert_eq!((&answer.content[..], answer.x_cache()), (&b"one"[..], expected));
        assert_eq!(answer.field("link"), "");
    }
}

#[tokio::test]
async fn methods_that_are_not_allowed_are_refused_with_allow() {
    let (address, seen) = origin().await;
    let edge = Edge::with(&config(address));
    let answer = edge.viewer().send("DELETE", "/read/x", "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.field("allow"), "GET, HEAD");
    assert!(seen.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn a_disabled_policy_forwards_every_request() {
    let (address, seen) = origin().await;
    let edge = Edge::with(&config(address));
    for _ in 0..3 {
        let answer = edge.get("/read/x").await;
        assert_eq!(answer.field("cache-status"), "Forebay; fwd=bypass; fwd-status=200");
    }
    assert_eq!(seen.lock().expect("lock").len(), 3);
    assert_eq!(edge.get("/teapot").await.status.as_u16(), 418);
}
