//! The fast path of a hit, without hyper: its responses match hyper's, and it takes only requests it can serve.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use forebay::proxy::Connection;
use http::{Method, Request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    bucket::Bucket,
    edge::{Edge, Lines, config_for},
    script::Script,
    time::{arrive, eventually, pass},
    viewer::{PATIENCE, pattern, raw},
};

/// A viewer's persistent connection.
struct Line(TcpStream);

impl Line {
    async fn to(server: SocketAddr) -> Self {
        Self(TcpStream::connect(server).await.expect("connected"))
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("sent");
    }

    /// Reads the next response: its head and its content.
    async fn hear(&mut self, method: &Method) -> (String, Vec<u8>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = tokio::time::timeout(PATIENCE, self.0.read_u8()).await;
            head.push(read.expect("a head in time").expect("a head"));
        }
        let head = String::from_utf8(head).expect("text");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.filter(|_| *method != Method::HEAD).map_or("0", |length| length);
        let mut content = vec![0; length.parse().expect("a length")];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut content)).await;
        read.expect("content in time").expect("content");
        (head, content)
    }

    async fn ask(&mut self, text: &str) -> (String, Vec<u8>) {
        let method = Method::try_from(text.split(' ').next().expect("a method")).expect("method");
        self.say(text).await;
        self.hear(&method).await
    }
}

/// The header lines of a head by name, without those that differ between responses: the request id and the date.
fn in_common(head: &str) -> Vec<(&str, &str)> {
    let line = |line| match str::split_once(line, ": ") {
        Some((name @ ("x-request-id" | "x-amz-cf-id" | "date"), _)) => (name, ""),
        named => named.unwrap_or((line, "")),
    };
    let mut lines: Vec<_> = head.lines().map(line).collect();
    lines.sort_by_key(|(name, _)| *name);
    lines
}

fn get(path: &str, fields: &[&str]) -> String {
    let fields = fields.join("\r\n") + if fields.is_empty() { "" } else { "\r\n" };
    format!("GET {path} HTTP/1.1\r\nHost: media.example.com\r\n{fields}\r\n")
}

/// Whether the fast path serves this request.
fn takes_fast_path(edge: &Edge, path: &str, fields: &[&str]) -> bool {
    let mut request = Request::get(path).header("host", "media.example.com");
    for (name, value) in fields.iter().filter_map(|field| field.split_once(": ")) {
        request = request.header(name, value);
    }
    let request = request.body(()).expect("request").into_parts().0;
    let connection = Connection::new([127, 0, 0, 1].into(), false);
    let head = &mut Vec::new();
    edge.running().edge.answer_fast(request, &connection, head).is_ok()
}

#[tokio::test]
async fn both_ways_say_the_same() {
    for lines in [
        Lines { behavior: "response_headers_policy = \"SimpleCORS\"", ..Lines::default() },
        Lines {
            behavior: "response_headers_policy = \"SecurityHeadersPolicy\"",
            ..Lines::default()
        },
        Lines { distribution: "compatibility = \"cloudfront\"", ..Lines::default() },
        Lines { behavior: "compress = true", ..Lines::default() },
        Lines::default(),
    ] {
        both_ways_say_the_same_of(&lines).await;
    }
}

/// Headers that both the origin and the edge send: each appears once, except `Cache-Status`, which has a member for
/// each cache.
#[tokio::test]
async fn an_origins_fields_do_not_come_twice() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &Lines::default());
    let fields = [
        "Cache-Control: max-age=100, no-cache=\"date\"",
        "ETag: \"e\"",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT",
        "Content-Range: bytes 0-99/1000",
        "Cache-Status: Shield; hit",
        "X-Cache: x",
        "Accept-Ranges: none",
    ];
    for range in ["", "Range: bytes=0-1\r\n", "Range: bytes=0-1,5-6\r\n"] {
        script.then(200, &fields, "0123456789");
        for n in 0..3 {
            let mut line = Line::to(edge.address).await;
            let request = format!("GET /a{} HTTP/1.1\r\nHost: h\r\n{range}\r\n", range.len());
            let (head, _) = line.ask(&request).await;
            for name in
                ["date", "content-range", "x-cache", "accept-ranges", "age", "content-length"]
            {
                let count = head.lines().filter(|l| l.starts_with(&format!("{name}: "))).count();
                assert!(count <= 1, "{name} of {range:?}, {n}: {head}");
            }
            let status = head.lines().filter(|line| line.starts_with("cache-status: "));
            assert_eq!(status.count(), 2, "{range:?}, {n}: {head}");
        }
    }
}

async fn both_ways_say_the_same_of(lines: &Lines<'_>) {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, lines);
    let css = "a { color: #123456 }\n".repeat(100);
    let fields = [
        "Cache-Control: max-age=100",
        "ETag: \"e\"",
        "X-Own: 1",
        "X-Own: 2",
        "X-Cache: x",
        "X-Request-Id: x",
    ];
    for (path, kind, more) in [
        ("/a.jpg", "image/jpeg", "X-More: 1"),
        ("/a.css", "text/css", "X-Amz-Cf-Pop: X"),
        ("/varies.css", "text/css", "Vary: Origin"),
        ("/dated.jpg", "image/jpeg", "Date: Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        let kind = format!("Content-Type: {kind}");
        script.then(200, &[&fields[..], &[&kind, more]].concat(), &css);
        edge.get(path).await;
    }
    // Compressed at the edge on request: on the second request the encoding is already known.
    script.then(200, &[&fields[..], &["Content-Type: text/css"]].concat(), &css);
    for _ in 0..2 {
        edge.viewer().field("accept-encoding", "br").get("/a.css").await;
    }
    script.then(404, &["Cache-Control: max-age=100"], "gone");
    edge.get("/gone").await;
    edge.clock.advance(Duration::from_secs(7));
    for (path, fields, direct) in [
        ("/a.jpg", &[][..], true),
        ("/a.jpg?query", &["Cookie: a=b", "User-Agent: x", "Connection: keep-alive"], true),
        ("/a.jpg", &["Origin: https://a.example"], true),
        ("/a.jpg", &["Range: bytes=10-19"], true),
        ("/a.jpg", &["Range: bytes=9999-"], false),
        ("/a.jpg", &["If-None-Match: \"e\""], true),
        ("/a.jpg", &["If-Match: \"other\""], false),
        ("/a.css", &["Accept-Encoding: identity"], true),
        ("/a.css", &["Accept-Encoding: br"], true),
        ("/varies.css", &["Accept-Encoding: identity"], true),
        ("/dated.jpg", &[], true),
        ("/gone", &[], false),
        ("/a/../b", &[], false),
    ] {
        let text = get(path, fields);
        let mut line = Line::to(edge.address).await;
        let mut answers = Vec::new();
        // The second request caches the headers; the third uses the cached ones.
        for _ in 0..3 {
            answers.push(line.ask(&text).await);
        }
        // A request that arrives in pieces goes to the HTTP library.
        let mut in_pieces = Line::to(edge.address).await;
        in_pieces.say(&text[..20]).await;
        arrive().await;
        in_pieces.say(&text[20..]).await;
        let (head, content) = in_pieces.hear(&Method::GET).await;
        for answer in &answers {
            assert_eq!(in_common(&answer.0), in_common(&head), "{path} {fields:?}");
            // Built-in error pages contain the request id, too.
            assert!(!direct || answer.1 == content, "{path} {fields:?}");
            assert_ne!(answer.0, head, "each has an id of its own");
        }
        assert_eq!(takes_fast_path(&edge, path, fields), direct, "{path} {fields:?}");
    }
}

#[tokio::test]
async fn answers_come_in_order_whoever_gives_them() {
    let bucket = Bucket::start().await;
    bucket.put("hit", "hit");
    bucket.put("miss", "miss");
    bucket.put("slow", pattern(100_000));
    let edge = Edge::before(&bucket);
    edge.get("/hit").await;
    let mut line = Line::to(edge.address).await;
    let hit = get("/hit", &[]);
    for (text, content) in [
        (hit.as_str(), "hit"),
        (&get("/miss", &[]), "miss"),
        (&hit, "hit"),
        (&get("/none", &[]), "404"),
        (&hit, "hit"),
        (&get("/miss", &["Range: bytes=1-1"]), "i"),
        (&hit.replace("GET", "HEAD"), ""),
        (&hit, "hit"),
        // Two requests in one write, then one more.
        (&hit.repeat(2), "hit"),
        ("", "hit"),
        (&hit, "hit"),
        (&hit.replace("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\nGET "), "403"),
    ] {
        let method = if text.starts_with("HEAD") { Method::HEAD } else { Method::GET };
        line.say(text).await;
        let (head, received) = line.hear(&method).await;
        let received = String::from_utf8(received).expect("text");
        assert!(received == content || received.contains(content), "{text}: {head}{received}");
    }
    // A hit requested while the library is busy waits for its turn.
    bucket.gate(1_000);
    let mut line = Line::to(edge.address).await;
    line.say(&get("/slow", &[])).await;
    arrive().await;
    line.say(&hit).await;
    arrive().await;
    bucket.gate(usize::MAX);
    assert_eq!(line.hear(&Method::GET).await.1, pattern(100_000));
    assert_eq!(line.hear(&Method::GET).await.1, b"hit");
    assert_eq!(line.ask(&hit).await.1, b"hit");
}

/// Longer than an idle connection stays with hyper.
const IDLE: Duration = Duration::from_millis(2_500);

#[tokio::test]
async fn an_idle_connection_leaves_hyper_and_loses_nothing() {
    let bucket = Bucket::start().await;
    bucket.put("a.jpg", "one");
    bucket.put("b.jpg", "second");
    let edge = Edge::before(&bucket);
    let mut line = Line::to(edge.address).await;
    let get = |path: &str| format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(line.ask(&get("a.jpg")).await.1, b"one");
    pass(IDLE).await;
    assert_eq!(line.ask(&get("a.jpg")).await.1, b"one");
    // hyper reads the beginning of another request with the first one. That is taken back, too.
    line.say(&(get("b.jpg") + "GET /a.jpg HT")).await;
    assert_eq!(line.hear(&Method::GET).await.1, b"second");
    pass(IDLE).await;
    line.say("TP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(line.hear(&Method::GET).await.1, b"one");
    assert_eq!(line.ask(&get("b.jpg")).await.1, b"second");
}

#[tokio::test]
async fn the_rest_of_a_head_is_never_taken_for_a_request() {
    let bucket = Bucket::start().await;
    bucket.put("a.jpg", "one");
    bucket.put("b.jpg", "second");
    let edge = Edge::before(&bucket);
    edge.get("/a.jpg").await;
    let get = "GET /a.jpg HTTP/1.1\r\nHost: h\r\n\r\n";
    for wait in [Duration::from_millis(50), IDLE] {
        let mut line = Line::to(edge.address).await;
        line.say(&format!("{}GET /b.jpg HTTP/1.1\r\nX-Rest: ", get.replace("a.jpg", "b.jpg")))
            .await;
        assert_eq!(line.hear(&Method::GET).await.1, b"second");
        pass(wait).await;
        // On its own, this would be a hit.
        line.say(get).await;
        assert_eq!(line.hear(&Method::GET).await.1, b"second");
        assert_eq!(line.ask(get).await.1, b"one");
    }
}

/// Bytes that one parser reads as content must not be a request to the other.
#[tokio::test]
async fn content_is_never_taken_for_a_request() {
    let bucket = Bucket::start().await;
    bucket.put("a", "content");
    bucket.put("smuggled", "smuggled");
    let edge = Edge::before(&bucket);
    edge.get("/a").await;
    edge.get("/smuggled").await;
    let smuggled = get("/smuggled", &[]);
    let length = format!("Content-Length: {}", smuggled.len());
    let chunked = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for (head, content) in [
        (get("/a", &[&length]), &smuggled),
        (get("/a", &[&length]).replace("GET", "POST"), &smuggled),
        (get("/a", &["Transfer-Encoding: chunked"]).replace("GET", "POST"), &chunked),
        (get("/a", &["Connection: close"]), &smuggled),
        (get("/a", &["Expect: 100-continue", &length]).replace("GET", "PUT"), &smuggled),
    ] {
        let mut line = Line::to(edge.address).await;
        assert_eq!(line.ask(&get("/a", &[])).await.1, b"content");
        line.say(&head).await;
        // The content arrives in a separate read, after the response was sent.
        arrive().await;
        let _ = line.0.write_all(content.as_bytes()).await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, line.0.read_to_end(&mut rest)).await;
        let rest = String::from_utf8_lossy(&rest);
        assert_eq!(rest.matches("HTTP/1.1 ").count(), 1, "{head}{rest}");
        assert!(!rest.contains("smuggled"), "{head}{rest}");
    }
}

/// An edge with these timeouts, and the content of its stored `/large`, in one piece.
async fn with_large_object(timeouts: &str) -> (Edge, Bytes) {
    let bucket = Bucket::start().await;
    let content = pattern(8 << 20);
    bucket.put("large", content.clone());
    let text = config_for(bucket.address, "memory = \"128MiB\"\nslice = \"8MiB\"", "");
    let edge = Edge::with(&text.replace("workers = 2", &format!("workers = 2\n{timeouts}")));
    edge.get("/large").await;
    // It is stored shortly after its viewer has it.
    eventually(|| takes_fast_path(&edge, "/large", &[])).await;
    (edge, content)
}

#[tokio::test]
async fn slow_viewers_get_all_and_those_who_take_nothing_are_cut() {
    let timeouts = "write_timeout = \"500ms\"\nidle_timeout = \"600ms\"";
    let (edge, content) = with_large_object(timeouts).await;
    let mut line = Line::to(edge.address).await;
    line.say(&get("/large", &[])).await;
    arrive().await;
    assert!(line.hear(&Method::GET).await.1 == content);
    // The connection is not idle until the request is answered.
    assert!(line.ask(&get("/large", &["Range: bytes=0-9"])).await.1 == content[..10]);
    let idle = tokio::time::timeout(PATIENCE, line.0.read(&mut [0])).await;
    assert_eq!(idle.expect("closed in time").expect("an end"), 0);
    let mut taking_nothing = Line::to(edge.address).await;
    taking_nothing.say(&get("/large", &[])).await;
    pass(Duration::from_millis(1_500)).await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, taking_nothing.0.read_to_end(&mut rest)).await;
    assert!(rest.len() < content.len(), "it was not cut");
}

#[tokio::test]
async fn a_viewer_is_idle_from_when_it_has_all() {
    let (edge, content) = with_large_object("idle_timeout = \"4s\"").await;
    let in_pieces = |text: String| [text[..20].to_owned(), text[20..].to_owned()];
    for head in [vec![get("/large", &[])], in_pieces(get("/large", &[])).to_vec()] {
        let mut line = Line::to(edge.address).await;
        for part in head {
            line.say(&part).await;
            arrive().await;
        }
        // Reading takes longer than the idle timeout.
        let mut taken = vec![0; 1 << 20];
        for _ in 0..7 {
            pass(Duration::from_millis(700)).await;
            line.0.read_exact(&mut taken).await.expect("content");
        }
        let mut rest = Vec::new();
        while !rest.ends_with(&content[content.len() - 100..]) {
            let read = line.0.read_buf(&mut rest).await.expect("content");
            assert!(read > 0, "closed before its end");
        }
        arrive().await;
        let range = get("/large", &["Range: bytes=0-9"]);
        assert!(line.ask(&range).await.1 == content[..10]);
    }
}

#[tokio::test]
async fn a_drain_closes_connections_that_only_had_hits() {
    let bucket = Bucket::start().await;
    bucket.put("a", "content");
    let mut edge = Edge::before(&bucket);
    edge.get("/a").await;
    let mut line = Line::to(edge.address).await;
    assert_eq!(line.ask(&get("/a", &[])).await.1, b"content");
    let stopping = tokio::spawn(edge.running.take().expect("running").stop());
    let end = tokio::time::timeout(PATIENCE, line.0.read(&mut [0])).await;
    assert_eq!(end.expect("closed at once").expect("an end"), 0);
    assert!(stopping.await.expect("stopped"), "everything finished");
}

#[tokio::test]
async fn a_drain_lets_viewers_receive_their_hits() {
    for after_a_miss in [false, true] {
        let (mut edge, content) = with_large_object("").await;
        let mut line = Line::to(edge.address).await;
        if after_a_miss {
            // The stream is then on loan to hyper.
            let missing = line.ask(&get("/missing", &[])).await.0;
            assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
        }
        line.say(&get("/large", &[])).await;
        arrive().await;
        let stopping = tokio::spawn(edge.running.take().expect("running").stop());
        pass(Duration::from_millis(1_500)).await;
        assert!(line.hear(&Method::GET).await.1 == content, "after a miss: {after_a_miss}");
        assert!(stopping.await.expect("stopped"), "everything finished");
    }
}

#[tokio::test]
async fn what_counts_is_counted_once() {
    let script = Script::start().await;
    let limit = "rate_limit = { per_client = { requests = 1, per = \"1h\", burst = 3 } }";
    let edge = Edge::before_script(&script, &Lines { distribution: limit, ..Lines::default() });
    script.then(200, &["Cache-Control: max-age=100"], "content");
    let close = get("/a", &["Connection: close"]);
    assert!(raw(edge.address, close.as_bytes()).await.contains("200 OK"));
    let mut line = Line::to(edge.address).await;
    for _ in 0..2 {
        assert_eq!(line.ask(&get("/a", &[])).await.1, b"content");
    }
    assert!(line.ask(&get("/a", &[])).await.0.starts_with("HTTP/1.1 429"));
    let metrics = edge.metrics().await;
    let hits = "forebay_requests_total{distribution=\"media\",result=\"Hit\",status=\"2xx\"} 2";
    assert!(metrics.contains(hits), "{metrics}");
}
