//! Isolation: one viewer's data does not reach another, and origins trust only the edge.

use std::time::Duration;

use http::StatusCode;

use crate::support::{
    edge::{Edge, LISTEN, Lines, config_for},
    script::Script,
    time::{arrive, eventually},
    viewer::raw,
};

const FRESH: &str = "Cache-Control: public, max-age=60";
const COOKIE: &str = "Set-Cookie: sessionid=one";

/// A policy with no header in the key that forwards the viewer's whole request to origins.
const ALL_VIEWER: Lines<'_> = Lines {
    listen: "",
    top: "",
    distribution: "",
    origin: "",
    policy: None,
    behavior: "origin_request_policy = \"AllViewer\"\nallowed_methods = \"all\"",
    more: "",
};

#[tokio::test]
async fn cookies_are_removed_if_the_behavior_forwards_none() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &Lines::default());
    script.then(200, &[COOKIE], "page").then(200, &[COOKIE, "Cache-Control: no-store"], "other");
    for expected in ["Miss", "Hit"] {
        let answer = edge.get("/page").await;
        assert_eq!((answer.x_cache(), answer.field("set-cookie")), (expected, ""));
    }
    assert_eq!(edge.get("/unstored").await.field("set-cookie"), "");
    edge.clock.advance(Duration::from_secs(86_401));
    script.then(304, &[COOKIE], "");
    assert_eq!(edge.get("/page").await.field("set-cookie"), "");
}

#[tokio::test]
async fn a_response_that_sets_a_cookie_is_for_one_viewer() {
    let script = Script::start().await;
    let by_key = Lines { policy: Some("UseOriginCacheControlHeaders"), ..Lines::default() };
    for lines in [ALL_VIEWER, by_key] {
        let edge = Edge::before_script(&script, &lines);
        for cookie in ["one", "two"] {
            script.then(200, &[FRESH, &format!("Set-Cookie: sessionid={cookie}")], "page");
            let answer = edge.get("/page").await;
            assert_eq!(answer.field("set-cookie"), format!("sessionid={cookie}"));
            assert_eq!(answer.x_cache(), "Miss");
        }
        // As hit-for-miss, it is fetched without waiting; later it may be stored.
        edge.clock.advance(Duration::from_secs(11));
        script.then(200, &[FRESH], "page");
        assert_eq!(edge.get("/page").await.x_cache(), "Miss");
        assert_eq!(edge.get("/page").await.x_cache(), "Hit");
    }
    let as_cloudfront = format!("{}\ncache_set_cookie = true", ALL_VIEWER.behavior);
    let edge =
        Edge::before_script(&script, &Lines { behavior: &as_cloudfront, ..Lines::default() });
    script.then(200, &[FRESH, COOKIE], "page");
    for expected in ["Miss", "Hit"] {
        let answer = edge.get("/page").await;
        assert_eq!((answer.x_cache(), answer.field("set-cookie")), (expected, "sessionid=one"));
    }
}

#[tokio::test]
async fn origins_do_not_get_what_only_the_edge_can_know() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &ALL_VIEWER);
    script.then(200, &[FRESH, "X-Cache: Hit from origin", "X-Amz-Cf-Pop: X1", "Via: 1.1 o"], "a");
    let viewer = [
        ("x-real-ip", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-edge-location", "X1"),
        ("x-amz-cf-id", "forged"),
        ("cloudfront-viewer-country", "AT"),
        ("proxy-authorization", "secret"),
        ("request-range", "bytes=0-1"),
        ("via", "1.1 somebody"),
        ("x_real_ip", "10.0.0.1"),
        ("x_forwarded_for", "10.0.0.1"),
        ("cloudfront_viewer_country", "AT"),
        ("x-own", "kept"),
    ];
    let viewer = viewer.iter().fold(edge.viewer(), |viewer, (n, v)| viewer.field(n, v));
    let answer = viewer.get("/a").await;
    let seen = script.last();
    for name in [
        "x-real-ip",
        "x-forwarded-proto",
        "x-edge-location",
        "x-amz-cf-id",
        "cloudfront-viewer-country",
        "proxy-authorization",
        "request-range",
        "x_real_ip",
        "x_forwarded_for",
        "cloudfront_viewer_country",
    ] {
        assert_eq!(seen.get(name), None, "{name}");
    }
    assert_eq!(seen["x-own"], "kept");
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
    let via = seen["via"].to_str().expect("text");
    assert!(via.starts_with("1.1 forebay-") && !via.contains(','), "{via}");
    assert_eq!((answer.x_cache(), answer.field("x-amz-cf-pop")), ("Miss", ""));
    assert!(!answer.field("via").contains("1.1 o,"), "{}", answer.field("via"));
}

#[tokio::test]
async fn networks_in_cdn_loop_are_passed_on_within_bounds() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &Lines::default());
    script.then(200, &[FRESH], "a").then(200, &[FRESH], "b");
    let answer = edge.viewer().field("cdn-loop", "one, two; a=b").get("/a").await;
    assert_eq!(answer.status, StatusCode::OK);
    let seen = script.last();
    let lines: Vec<_> =
        seen.get_all("cdn-loop").iter().map(|v| v.to_str().expect("text")).collect();
    assert_eq!(lines[0], "one, two; a=b");
    assert!(lines[1].starts_with("forebay-"), "{lines:?}");
    let own = lines[1].to_owned();
    let many = (0..17).map(|n| format!("cdn{n}")).collect::<Vec<_>>().join(",");
    for value in [&own, "one, one", &many, &"a".repeat(2_000)] {
        let answer = edge.viewer().field("cdn-loop", value).get("/b").await;
        assert_eq!(answer.status, StatusCode::LOOP_DETECTED, "{value:.40}");
    }
    assert_eq!(edge.get("/b").await.status, StatusCode::OK);
}

#[tokio::test]
async fn buckets_get_neither_via_nor_cdn_loop() {
    let script = Script::start().await;
    let text = config_for(script.address, "memory = \"32MiB\"", "");
    let edge = Edge::with(&text);
    script.then(200, &["ETag: \"a\""], "a");
    let long = format!("1.1 {}", "a".repeat(20_000));
    let answer = edge.viewer().field("via", &long).field("cdn-loop", "one").get("/a").await;
    assert_eq!(answer.content, "a");
    let seen = script.last();
    assert_eq!((seen.get("via"), seen.get("cdn-loop")), (None, None));
}

#[tokio::test]
async fn an_origin_that_refuses_one_viewers_fields_answers_the_others() {
    for status in [400, 431, 494] {
        let script = Script::start().await;
        let edge = Edge::before_script(&script, &ALL_VIEWER);
        script.answer_when(move |request| {
            let is_long = request.headers().contains_key("x-long");
            (if is_long { status } else { 200 }, "content")
        });
        script.hold();
        let long = edge.viewer().field("x-long", "1");
        let leader = tokio::spawn(async move { long.get("/a").await });
        script.asked(1).await;
        let others: Vec<_> = (0..5)
            .map(|_| edge.viewer())
            .map(|viewer| tokio::spawn(async move { viewer.get("/a").await }))
            .collect();
        // The other requests wait for the first: the origin sees only that one.
        arrive().await;
        assert_eq!(script.requests(), 1);
        script.release();
        assert_eq!(leader.await.expect("answered").status.as_u16(), status);
        for other in others {
            let answer = other.await.expect("answered");
            assert_eq!((answer.status, &answer.content[..]), (StatusCode::OK, &b"content"[..]));
        }
    }
}

#[tokio::test]
async fn an_error_that_one_viewers_fields_may_have_caused_is_not_stored() {
    for status in [400, 403, 412, 431] {
        let script = Script::start().await;
        let edge = Edge::before_script(&script, &ALL_VIEWER);
        script.then(status, &[FRESH], "bad").then(200, &[FRESH], "good");
        let first = edge.viewer().field("x-bad", "1").get("/a").await;
        assert_eq!(first.status.as_u16(), status);
        assert_eq!(edge.get("/a").await.content, "good", "{status}");
        // With nothing beyond the key, all viewers get the same response.
        let script = Script::start().await;
        let edge = Edge::before_script(&script, &Lines::default());
        script.then(status, &[FRESH], "bad");
        for _ in 0..2 {
            let again = edge.viewer().field("x-bad", "1").get("/a").await.status.as_u16();
            assert_eq!(again, status);
        }
        assert_eq!(script.requests(), 1);
    }
}

#[tokio::test]
async fn answers_that_nobody_asked_for_are_errors() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &ALL_VIEWER);
    for (method, path) in [("GET", "/a"), ("HEAD", "/b"), ("POST", "/c")] {
        script.then(206, &["Content-Range: bytes 0-0/9", "ETag: \"a\""], "a");
        let answer = edge.viewer().send(method, path, "").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{method}");
    }
    script.then(101, &["Upgrade: websocket", "Connection: upgrade"], "");
    assert_eq!(edge.get("/d").await.status, StatusCode::BAD_GATEWAY);
    script.then(304, &[], "");
    assert_eq!(edge.get("/e").await.status, StatusCode::BAD_GATEWAY);
    script.then(200, &[FRESH], "a");
    assert_eq!(edge.get("/a").await.content, "a");
}

fn status_of(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

#[tokio::test]
async fn framing_in_doubt_is_refused_and_the_connection_closed() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &ALL_VIEWER);
    let body = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for (fields, status) in [
        ("Transfer-Encoding: gzip, chunked", "501"),
        ("Transfer-Encoding: identity, chunked", "501"),
        ("Transfer-Encoding: chunked, chunked", "400"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "400"),
        ("Transfer-Encoding: cow\r\nTransfer-Encoding: chunked", "400"),
        ("Transfer-Encoding: chunked\r\nExpect: foo", "417"),
        ("Content-Length: 0\r\nExpect: 100-continue, foo", "417"),
    ] {
        let request = format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{body}");
        let answer = raw(edge.address, request.as_bytes()).await;
        assert_eq!(status_of(&answer), status, "{fields}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{fields}\n{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    }
    assert_eq!(script.requests(), 0);
    let admin = edge.running().admin_address.expect("admin");
    let request = format!(
        "POST /purge HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{body}"
    );
    assert_eq!(status_of(&raw(admin, request.as_bytes()).await), "501");
}

#[tokio::test]
async fn content_that_the_viewer_breaks_is_the_viewers_fault() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &ALL_VIEWER);
    script.then(200, &[], "unused");
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = raw(edge.address, format!("{head}5\r\nabcde\r\nzz\r\n").as_bytes()).await;
    assert_eq!(status_of(&answer), "400", "{answer}");
    let text = edge.metrics().await;
    let counts: Vec<_> =
        text.lines().filter(|line| line.starts_with("forebay_origin_errors_total{")).collect();
    assert!(!counts.is_empty() && counts.iter().all(|line| line.ends_with("} 0")), "{text}");
}

#[tokio::test]
async fn posts_neither_empty_the_cache_nor_fill_the_purge_log() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &ALL_VIEWER);
    script.answer_when(|request| (if request.method() == "POST" { 204 } else { 200 }, "content"));
    for path in ["/kept", "/a"] {
        edge.get(path).await;
        assert_eq!(edge.get(path).await.x_cache(), "Hit", "{path}");
    }
    let mut sender = edge.viewer().connect().await;
    for n in 0..2_000 {
        let path = format!("/{n}/{}", "a".repeat(4_000));
        assert_eq!(sender.send("POST", &path).await, StatusCode::NO_CONTENT);
    }
    assert_eq!(sender.send("POST", "//a").await, StatusCode::NO_CONTENT);
    assert_eq!(edge.get("/kept").await.x_cache(), "Hit");
    assert_eq!(edge.get("/a").await.x_cache(), "Miss");
}

/// An origin with long, uncacheable responses, and one of 7 bytes under `/small`.
async fn endless_origin() -> (std::net::SocketAddr, std::sync::Arc<std::sync::atomic::AtomicUsize>)
{
    use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let open = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&open);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let open = Arc::clone(&counted);
            tokio::spawn(async move {
                open.fetch_add(1, Ordering::AcqRel);
                let mut request = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut request).await {
                    let small = request[..read].starts_with(b"GET /small");
                    let (length, cached) =
                        if small { (7, "max-age=60") } else { (64 << 20, "no-store") };
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nCache-Control: {cached}\r\n\r\n"
                    );
                    let _ = stream.write_all(head.as_bytes()).await;
                    let part = vec![b'x'; 64 << 10];
                    let mut left = length;
                    while left > 0 {
                        let now = left.min(part.len());
                        if stream.write_all(&part[..now]).await.is_err() {
                            break;
                        }
                        left -= now;
                    }
                }
                open.fetch_sub(1, Ordering::AcqRel);
            });
        }
    });
    (address, open)
}

fn in_front_of(origin: std::net::SocketAddr, more: &str) -> Edge {
    Edge::with(&format!(
        r#"{LISTEN}
[cache]
memory = "64MiB"
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "app"
url = "http://{origin}"
max_connections = 16
{more}
[distribution.default_behavior]
origin = "app"
cache_policy = "CachingOptimized"
allowed_methods = "all"
"#
    ))
}

#[tokio::test]
async fn slow_readers_of_one_client_hold_a_part_of_an_origins_connections() {
    use tokio::io::AsyncWriteExt;
    for path in ["/same", "/each"] {
        let (origin, open) = endless_origin().await;
        let edge = in_front_of(origin, "");
        let mut readers = Vec::new();
        for n in 0..32 {
            let mut stream = tokio::net::TcpStream::connect(edge.address).await.expect("connected");
            let path = if path == "/each" { format!("/each/{n}") } else { path.to_owned() };
            let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            readers.push(stream);
        }
        // These viewers read nothing; meanwhile an honest viewer's miss is served.
        eventually(|| open.load(std::sync::atomic::Ordering::Acquire) >= 4).await;
        let answer = edge.get("/small").await;
        assert_eq!((answer.status.as_u16(), answer.content.len()), (200, 7), "{path}");
        drop(readers);
    }
}

#[tokio::test]
async fn slow_senders_hold_no_connection_to_the_origin() {
    use tokio::io::AsyncWriteExt;
    let script = Script::start().await;
    script.answer_when(|_| (200, "content"));
    let edge =
        in_front_of(script.address, "upload_min_rate = \"1MiB\"\nupload_timeout = \"500ms\"");
    let mut senders = Vec::new();
    for _ in 0..32 {
        let mut stream = tokio::net::TcpStream::connect(edge.address).await.expect("connected");
        let head = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nx";
        stream.write_all(head.as_bytes()).await.expect("sent");
        senders.push(stream);
    }
    assert_eq!(edge.get("/b").await.content, "content");
    for mut sender in senders {
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut sender, &mut answer).await.expect("read");
        assert_eq!(status_of(&answer), "408", "{answer}");
    }
    assert_eq!(script.requests(), 1, "no upload was begun");
    // Responses that arrive in time are passed on, short or long.
    for length in [10, 100_000] {
        let content = vec![b'x'; length];
        let answer = edge.viewer().send("POST", "/a", content).await;
        assert_eq!(answer.status, StatusCode::OK);
        let sent = script.last();
        assert_eq!(sent["content-length"], length.to_string());
    }
}
