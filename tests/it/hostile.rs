//! Malicious viewers get one response, then the connection closes. Timeouts end stalled connections.

use std::time::Duration;

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    bucket::Bucket,
    edge::{Edge, config_for},
    time::pass,
    viewer::{PATIENCE, Viewer, pattern, raw},
};

fn hasty(bucket: &Bucket) -> Edge {
    let text = config_for(bucket.address, "memory = \"32MiB\"", "").replace(
        "workers = 2",
        "workers = 1\nheader_timeout = \"300ms\"\nidle_timeout = \"3s\"\nwrite_timeout = \"2s\"",
    );
    Edge::with(&text)
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect()
}

#[tokio::test]
async fn malformed_requests_get_one_answer_and_no_second_chance() {
    let bucket = Bucket::start().await;
    bucket.put("a", "content");
    let edge = hasty(&bucket);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for (request, status) in [
        ("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /", "403"),
        (
            "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
            "403",
        ),
        ("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "400"),
        ("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n", "400"),
        ("GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", "400"),
        ("GET /a HTTP/1.1\r\nHost : h\r\n\r\n", "400"),
        ("GET /a HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", "400"),
        ("GET /a HTTP/9.9\r\nHost: h\r\n\r\n", "400"),
        ("GARBAGE\r\n\r\n", "400"),
    ] {
        let answer = raw(edge.address, format!("{request}{smuggled}").as_bytes()).await;
        assert_eq!(statuses(&answer), [status], "{request:?}\n{answer}");
    }
    assert!(bucket.gets().iter().all(|got| got.key != "smuggled"));
}

#[tokio::test]
async fn doubtful_hosts_and_targets_are_refused() {
    let bucket = Bucket::start().await;
    let edge = hasty(&bucket);
    let long = "a".repeat(8300);
    let key = "a".repeat(1025);
    for (request, status) in [
        ("GET /a HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), "400"),
        ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n".into(), "400"),
        ("GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), "400"),
        (format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), "414"),
        (format!("GET /{key} HTTP/1.1\r\nHost: h\r\n\r\n"), "414"),
        ("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".into(), "405"),
        ("GET /..%5Ca HTTP/1.1\r\nHost: h\r\n\r\n".into(), "400"),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n".into(), "403"),
    ] {
        let answer = raw(edge.address, request.as_bytes()).await;
        assert_eq!(statuses(&answer), [status], "{request:.60}\n{answer}");
    }
    assert!(bucket.gets().is_empty());
}

/// A response that takes longer than the header timeout: afterwards the connection is idle and times out as such.
#[tokio::test]
async fn a_connection_is_idle_after_a_slow_answer_too() {
    let bucket = Bucket::start().await;
    bucket.put("a.bin", vec![b'x'; 100_000]);
    bucket.gate(1_000);
    let edge = hasty(&bucket);
    let mut stream = TcpStream::connect(edge.address).await.expect("connected");
    stream.write_all(b"GET /a.bin HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("sent");
    pass(Duration::from_millis(500)).await;
    bucket.gate(1_000_000);
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "it was not closed");
    assert!(answer.len() > 100_000);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431_and_counted() {
    let bucket = Bucket::start().await;
    let edge = hasty(&bucket);
    // Just over the limit, our own check refuses it; far over it, hyper stops reading.
    for size in [33 << 10, 200 << 10] {
        let fill = "a".repeat(size);
        let request = format!("GET /a HTTP/1.1\r\nHost: h\r\nX: {fill}\r\n\r\n");
        assert_eq!(statuses(&raw(edge.address, request.as_bytes()).await), ["431"], "{size}");
    }
    // The connection is counted when it ends, shortly after the viewer has its response.
    for line in [
        "forebay_oversized_heads_total 1",
        "forebay_refused_requests_total{reason=\"head-too-large\"} 2",
    ] {
        edge.metrics_have(line).await;
    }
}

#[tokio::test]
async fn an_unknown_host_is_misdirected() {
    let bucket = Bucket::start().await;
    bucket.put("a", "content");
    let text = config_for(bucket.address, "memory = \"32MiB\"", "")
        .replace("aliases = [\"*\"]", "aliases = [\"media.example.com\", \"*.cdn.example.com\"]");
    let edge = Edge::with(&text);
    for (host, status) in [
        ("media.example.com", 200),
        ("MEDIA.example.com:8080", 200),
        ("x.cdn.example.com", 200),
        ("cdn.example.com", 421),
        ("other.example.com", 421),
        ("127.0.0.1", 421),
    ] {
        let answer = edge.viewer().field("host", host).get("/a").await;
        assert_eq!(answer.status.as_u16(), status, "{host}");
    }
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed_each_in_its_time() {
    let bucket = Bucket::start().await;
    bucket.put("a", "content");
    let edge = hasty(&bucket);
    let mut slow = TcpStream::connect(edge.address).await.expect("connected");
    slow.write_all(b"GET /a HTTP/1.1\r\nHo").await.expect("written");
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.ok();
    edge.metrics_have("forebay_refused_requests_total{reason=\"head-timeout\"} 1").await;
    // After a response, a connection may be idle for longer than the header timeout.
    let mut idle = TcpStream::connect(edge.address).await.expect("connected");
    for _ in 0..3 {
        idle.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("written");
        let mut answer = [0; 2048];
        assert!(idle.read(&mut answer).await.expect("answer") > 0);
        pass(Duration::from_millis(500)).await;
    }
    idle.read_to_end(&mut rest).await.ok();
}

#[tokio::test]
async fn a_viewer_who_takes_no_bytes_is_cut_and_a_slow_one_is_not() {
    let bucket = Bucket::start().await;
    bucket.put("large.bin", pattern(24 << 20));
    let edge = hasty(&bucket);
    edge.get("/large.bin").await;
    let ask = b"GET /large.bin HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut stalled = TcpStream::connect(edge.address).await.expect("connected");
    stalled.write_all(ask).await.expect("written");
    let mut slow = TcpStream::connect(edge.address).await.expect("connected");
    slow.write_all(ask).await.expect("written");
    let mut buffer = vec![0; 4 << 20];
    let mut slowly = 0;
    for _ in 0..30 {
        pass(Duration::from_millis(100)).await;
        slowly += slow.read(&mut buffer).await.expect("still there");
    }
    let mut got = 0;
    while let Ok(read) = stalled.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        got += read;
    }
    assert!(got < 24 << 20, "the stalled viewer got everything");
    while slowly < 24 << 20 {
        let read = slow.read(&mut buffer).await.expect("still there");
        assert!(read > 0, "cut after {slowly}");
        slowly += read;
    }
}

#[tokio::test]
async fn readiness_tells_of_credentials() {
    let bucket = Bucket::start().await;
    let edge = Edge::before(&bucket);
    assert_eq!(edge.admin("/readyz").await.status, StatusCode::OK);
    assert_eq!(edge.admin("/healthz").await.content, "ok\n");
    let text = config_for(bucket.address, "memory = \"32MiB\"", "");
    let without = Edge::with_credentials(&text, forebay::aws::Credentials::new());
    let answer = without.admin("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(String::from_utf8_lossy(&answer.content).contains("missing"));
    let admin = without.running().admin_address.expect("admin");
    assert_eq!(Viewer::new(admin).get("/healthz").await.status, StatusCode::OK);
}
