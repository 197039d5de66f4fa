//! The access log: a line for every request, with a reason and, if known, the distribution.

use std::path::Path;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    front::{certificates, connect, tls_config},
    support::{
        bucket::Bucket,
        edge::{Edge, LISTEN, config_for},
        time::eventually,
        viewer::raw,
        wire::{Wire, WireOrigin},
    },
};

/// Returns the configuration with a JSON access log at `path`.
fn logged(config: &str, path: &Path) -> String {
    let log = format!("format = \"json\"\npath = \"{}\"", path.display());
    config.replace("format = \"off\"", &log)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Heads that hyper refuses: each log line has hyper's response status.
#[tokio::test]
async fn refused_heads_are_logged() {
    let bucket = Bucket::start().await;
    bucket.put("hit.png", "image");
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("access.log");
    let edge = Edge::with(&logged(&config_for(bucket.address, "memory = \"32MiB\"", ""), &path));
    let malformed = "malformed-head";
    let too_large = format!("GET /e HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "b".repeat(70_000));
    let mut expected = Vec::new();
    for (head, status, detail, method, path, distribution) in [
        ("GET /a?q=\"b\" HTTP/1.1\r\nHost: h\r\n\r\n", 400, malformed, "GET", "/a", "media"),
        ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, malformed, "GET", "/a%20b", "media"),
        ("POST /c HTTP/9.9\r\nHost: h\r\n\r\n", 400, malformed, "POST", "/c", "media"),
        ("GET /d HTTP/1.1\r\nHost: h\r\nno field\r\n\r\n", 400, malformed, "GET", "/d", "media"),
        ("nonsense\r\n\r\n", 400, malformed, "-", "/", "none"),
        (&*too_large, 431, "head-too-large", "GET", "/e", "media"),
    ] {
        let answer = raw(edge.address, head.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        expected.push((status, detail, method, path, distribution));
    }
    // A refused head after a hit on the same connection.
    let mut stream = TcpStream::connect(edge.address).await.expect("connected");
    stream.write_all(b"GET /hit.png HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("sent");
    let mut answer = vec![0; 4096];
    while !answer.ends_with(b"image") {
        let read = stream.read_buf(&mut answer).await.expect("an answer");
        assert!(read > 0);
    }
    stream.write_all(b"GET /f?\" HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("sent");
    stream.read_to_end(&mut answer).await.expect("closed");
    expected.push((400, malformed, "GET", "/f", "media"));
    eventually(|| lines(&path).len() == expected.len() + 1).await;
    let lines = lines(&path);
    for (status, detail, method, path, distribution) in expected {
        let is_line = |line: &&Value| {
            let texts = [("detail", detail), ("method", method), ("path", path)];
            line["status"] == status
                && line["distribution"].as_str().unwrap_or("none") == distribution
                && texts.iter().all(|(key, text)| line[key] == *text)
        };
        assert_eq!(lines.iter().filter(is_line).count(), 1, "{detail} {path}: {lines:#?}");
    }
    let text = edge.metrics().await;
    assert!(text.contains("reason=\"malformed-head\"} 6"), "{text}");
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_logged_and_an_idle_connection_is_not() {
    let bucket = Bucket::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("access.log");
    let text = config_for(bucket.address, "memory = \"32MiB\"", "");
    let timeouts = "drain = \"5s\"\nheader_timeout = \"100ms\"\nidle_timeout = \"100ms\"";
    let edge = Edge::with(&logged(&text.replace("drain = \"5s\"", timeouts), &path));
    assert_eq!(raw(edge.address, b"").await, "");
    assert_eq!(raw(edge.address, b"GET /slow HTTP/1.1\r\nHost: h\r\nA:").await, "");
    eventually(|| !lines(&path).is_empty()).await;
    let [line] = &lines(&path)[..] else { panic!("{:?}", lines(&path)) };
    assert_eq!((&line["status"], &line["detail"]), (&0.into(), &"head-timeout".into()));
    assert_eq!((&line["distribution"], &line["path"]), (&"media".into(), &"/slow".into()));
}

#[tokio::test]
async fn a_viewer_who_leaves_before_the_response_is_logged() {
    let bucket = Bucket::start().await;
    bucket.put("a.bin", crate::support::viewer::pattern(200_000));
    let (folder, certificates) = (tempfile::tempdir().expect("folder"), certificates());
    let path = folder.path().join("access.log");
    let edge = Edge::with(&logged(&tls_config(&bucket, &certificates), &path));
    let host = "one.example.com";
    let stream = connect(edge.running().https[0], &certificates, "one", host, "h2").await;
    let stream = TokioIo::new(stream.expect("handshake"));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
    let (mut sender, connection) = handshake.expect("h2");
    tokio::spawn(connection);
    bucket.gate(0);
    let request = Request::get(format!("https://{host}/a.bin")).body(Empty::<Bytes>::new());
    let response = sender.send_request(request.expect("a request"));
    let response = tokio::spawn(response);
    bucket.asked(1).await;
    response.abort();
    eventually(|| lines(&path).len() == 1).await;
    let [line] = &lines(&path)[..] else { panic!("{:?}", lines(&path)) };
    assert_eq!((&line["status"], &line["detail"]), (&0.into(), &"viewer-left".into()));
    assert_eq!((&line["distribution"], &line["path"]), (&"media".into(), &"/a.bin".into()));
    bucket.gate(usize::MAX);
}

#[tokio::test]
async fn a_tunnel_is_logged_when_it_ends_with_the_reason() {
    let origin = WireOrigin::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("access.log");
    let text = format!(
        r#"{LISTEN}
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "app"
url = "http://{}"
tunnel_idle_timeout = "300ms"
[distribution.default_behavior]
origin = "app"
cache_policy = "CachingDisabled"
allowed_methods = "all"
"#,
        origin.address
    );
    let edge = Edge::with(&logged(&text, &path));
    let handshake =
        "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut viewer = Wire::connect(edge.address, handshake).await;
    let (mut origin, _) = origin.accept().await;
    let switched =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    origin.send(&format!("{switched}hello")).await;
    assert!(viewer.read_rest().await.ends_with("hello"));
    eventually(|| lines(&path).len() == 1).await;
    let line = &lines(&path)[0];
    assert_eq!(line["status"], 101, "{line}");
    assert_eq!((&line["bytes"], &line["complete"]), (&Value::from(5), &Value::from(false)));
    assert_eq!(line["detail"], "tunnel-idle", "{line}");
}
