//! Responses of unknown length, and long ones without a validator.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use crate::support::{
    edge::{Edge, LISTEN, Lines},
    script::Script,
    time::{arrive, eventually},
    viewer::{PATIENCE, pattern, read},
};

/// An origin whose first response is sent in parts by the test, and ends when the test has no more.
struct Dripping {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    parts: Option<mpsc::Sender<Bytes>>,
}

impl Dripping {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let (sender, mut parts) = mpsc::channel::<Bytes>(100);
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("connection");
                stream.set_nodelay(true).expect("nodelay");
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await.expect("head");
                let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
                let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
                stream.write_all(head.as_bytes()).await.expect("head");
                if !first {
                    stream.write_all(b"5\r\nother\r\n0\r\n\r\n").await.expect("content");
                    continue;
                }
                while let Some(part) = parts.recv().await {
                    let chunk =
                        [format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat();
                    stream.write_all(&chunk).await.expect("part");
                }
                stream.write_all(b"0\r\n\r\n").await.expect("end");
            }
        });
        Self { address, requests, parts: Some(sender) }
    }

    fn send(&self, part: Bytes) {
        self.parts.as_ref().expect("not ended").try_send(part).expect("room");
    }

    fn end(&mut self) {
        self.parts = None;
    }

    fn edge(&self) -> Edge {
        Edge::with(&format!(
            r#"{LISTEN}
[cache]
memory = "32MiB"
slice = "64KiB"
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "app"
url = "http://{}"
[distribution.default_behavior]
origin = "app"
cache_policy = "CachingOptimized"
"#,
            self.address
        ))
    }
}

#[tokio::test]
async fn a_long_answer_of_unknown_length_streams_and_is_stored_at_its_end() {
    let mut origin = Dripping::start().await;
    let edge = origin.edge();
    let content = pattern(300_000);
    origin.send(content.slice(..100_000));
    let mut first = edge.viewer().begin("GET", "/feed", "").await;
    let begun = first.frame().await.expect("frame").expect("data").into_data().expect("data");
    assert!(content.starts_with(&begun), "it has begun before it ends");
    // A second viewer that arrives meanwhile waits for it.
    let viewer = edge.viewer();
    let second = tokio::spawn(async move { viewer.get("/feed").await });
    origin.send(content.slice(100_000..));
    origin.end();
    let rest = read(first).await.content;
    assert_eq!([begun, rest].concat(), content);
    let second = second.await.expect("viewer");
    assert_eq!((&second.content, second.x_cache()), (&content, "Hit"));
    let third = edge.get("/feed").await;
    assert_eq!((&third.content, third.x_cache()), (&content, "Hit"));
    assert_eq!(third.field("content-length"), "300000");
    assert_eq!(origin.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_slow_answer_of_unknown_length_is_stored_whoever_leaves() {
    let mut origin = Dripping::start().await;
    let edge = origin.edge();
    origin.send(Bytes::from_static(b"slow "));
    let mut first = edge.viewer().begin("GET", "/feed", "").await;
    first.frame().await.expect("frame").expect("data");
    drop(first);
    arrive().await;
    origin.send(Bytes::from_static(b"and steady"));
    origin.end();
    let answer = edge.get("/feed").await;
    assert_eq!((&answer.content[..], answer.x_cache()), (&b"slow and steady"[..], "Hit"));
}

#[tokio::test]
async fn what_is_too_long_to_be_collected_is_passed_on() {
    let mut origin = Dripping::start().await;
    let edge = origin.edge();
    // A sixteenth of the memory is two megabytes.
    let content = pattern(5 << 20);
    let viewer = edge.viewer();
    let first = tokio::spawn(async move { viewer.get("/feed").await });
    for part in content.chunks(100_000) {
        origin.send(Bytes::copy_from_slice(part));
    }
    origin.end();
    let first = first.await.expect("viewer");
    assert!(!first.aborted && first.content == content);
    assert_eq!(&edge.get("/feed").await.content[..], b"other");
    eventually(|| edge.running().edge.store().usage().bytes < 1 << 20).await;
}

#[tokio::test]
async fn a_long_object_without_validators_is_stored_in_one_piece() {
    let script = Script::start().await;
    let content = "0123456789".repeat(30_000);
    script.then(200, &["Cache-Control: max-age=60"], &content);
    let edge = Edge::before_script(&script, &Lines::default());
    for expected in ["Miss", "Hit", "Hit"] {
        let answer = edge.get("/a").await;
        assert_eq!((answer.x_cache(), answer.content.len()), (expected, content.len()));
        assert_eq!(answer.field("content-length"), "300000");
    }
    let part = edge.viewer().field("range", "bytes=299990-").get("/a").await;
    assert_eq!((part.status.as_u16(), &part.content[..]), (206, &b"0123456789"[..]));
    assert_eq!(script.requests(), 1);
}

#[tokio::test]
async fn a_viewer_who_reads_slowly_keeps_nobody_waiting() {
    let mut origin = Dripping::start().await;
    let edge = origin.edge();
    let content = pattern(1 << 20);
    origin.send(content.slice(..100_000));
    let mut slow = edge.viewer().begin("GET", "/feed", "").await;
    slow.frame().await.expect("frame").expect("data");
    // The viewer stops reading.
    for part in content[100_000..].chunks(50_000) {
        origin.send(Bytes::copy_from_slice(part));
    }
    origin.end();
    let other = tokio::time::timeout(PATIENCE, edge.get("/feed")).await;
    let other = other.expect("it waits for the origin, not for the slow one");
    assert!(other.content == content && other.x_cache() == "Hit");
    assert_eq!(origin.requests.load(Ordering::SeqCst), 1);
    let rest = read(slow).await;
    assert!(!rest.aborted && content.ends_with(&rest.content));
}
