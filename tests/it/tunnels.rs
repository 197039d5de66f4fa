//! Requests that change the protocol of their connection, such as to WebSocket.

use tokio::io::AsyncWriteExt;

use crate::support::{
    bucket::Bucket,
    edge::{Edge, Lines},
    script::Script,
    viewer::raw,
    wire::{Wire, WireOrigin},
};

const HANDSHAKE: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: chat\r\n\r\n";

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Own: 1\r\n\r\n";

fn all_methods() -> Lines<'static> {
    Lines { behavior: "allowed_methods = \"all\"", ..Lines::default() }
}

/// A viewer and an origin with a tunnel between them.
async fn tunnel(edge: &Edge, origin: &WireOrigin) -> (Wire, Wire) {
    let mut viewer = Wire::connect(edge.address, HANDSHAKE).await;
    let (mut origin, _) = origin.accept().await;
    origin.send(SWITCHED).await;
    assert!(viewer.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    (viewer, origin)
}

#[tokio::test]
async fn bytes_go_both_ways_until_both_ends_have_closed() {
    let origin = WireOrigin::start().await;
    let edge = Edge::before_origin(origin.address, &all_methods());
    // The first bytes may follow the head at once.
    let mut viewer = Wire::connect(edge.address, &format!("{HANDSHAKE}early.")).await;
    let (mut origin, head) = origin.accept().await;
    let head = head.to_ascii_lowercase();
    for line in [
        "get /chat http/1.1\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nupgrade: websocket\r\n",
        "\r\nsec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n",
        "\r\nsec-websocket-version: 13\r\n",
        "\r\nsec-websocket-protocol: chat\r\n",
        "\r\nvia: ",
    ] {
        assert!(head.contains(line), "{line:?} in {head}");
    }
    origin.send(&format!("{SWITCHED}hello.")).await;
    let head = viewer.read_until("\r\n\r\n").await.to_ascii_lowercase();
    for line in [
        "http/1.1 101 switching protocols\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nupgrade: websocket\r\n",
        "\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n",
        "\r\nx-own: 1\r\n",
        "\r\nx-cache: miss",
    ] {
        assert!(head.contains(line), "{line:?} in {head}");
    }
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(viewer.read_until(".").await, "hello.");
    assert_eq!(origin.read_until(".").await, "early.");
    edge.metrics_have("forebay_origin_tunnels{distribution=\"media\",origin=\"app\"} 1").await;
    viewer.send("GET /a HTTP/1.1\r\n\r\n").await;
    assert_eq!(origin.read_until("\r\n\r\n").await, "GET /a HTTP/1.1\r\n\r\n");
    viewer.0.shutdown().await.expect("closed one way");
    assert_eq!(origin.read_rest().await, "");
    origin.send("last").await;
    drop(origin);
    assert_eq!(viewer.read_rest().await, "last");
    edge.metrics_have("forebay_origin_tunnels{distribution=\"media\",origin=\"app\"} 0").await;
    edge.metrics_have(
        "forebay_requests_total{distribution=\"media\",result=\"Miss\",status=\"1xx\"} 1",
    )
    .await;
}

#[tokio::test]
async fn what_follows_a_refused_handshake_is_a_request_of_its_own() {
    let origin = WireOrigin::start().await;
    let edge = Edge::before_origin(origin.address, &all_methods());
    let smuggled = "GET /second HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let mut viewer = Wire::connect(edge.address, &format!("{HANDSHAKE}{smuggled}")).await;
    let (mut first, head) = origin.accept().await;
    assert!(head.starts_with("GET /chat "), "{head}");
    first.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    assert!(viewer.read_until("no").await.starts_with("HTTP/1.1 403 "));
    // The origin gets the request that the edge has made of it, with its own head.
    let head = first.read_until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("get /second ") && head.contains("\r\nvia: "), "{head}");
    assert!(!head.contains("upgrade"), "{head}");
    first.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes").await;
    assert!(viewer.read_rest().await.ends_with("yes"));
}

#[tokio::test]
async fn nothing_is_sent_ahead_of_the_response() {
    let origin = WireOrigin::start().await;
    let edge = Edge::before_origin(origin.address, &all_methods());
    let mut viewer = Wire::connect(edge.address, &format!("{HANDSHAKE}ahead")).await;
    let (mut held, _) = origin.accept().await;
    held.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await;
    held.0.shutdown().await.expect("closed one way");
    assert!(viewer.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(held.read_rest().await, "");
    // The bytes are not a request.
    viewer.send("\r\n\r\n").await;
    assert!(viewer.read_rest().await.contains("HTTP/1.1 400 "));
}

#[tokio::test]
async fn other_requests_keep_http() {
    let script = Script::start().await;
    script.answer_when(|_| (200, "Cache-Control: max-age=60"));
    let reading = Edge::before_script(&script, &Lines::default());
    let all = Edge::before_script(&script, &all_methods());
    let none = Lines { origin: "max_tunnels = 0", ..all_methods() };
    let none = Edge::before_script(&script, &none);
    let old = HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0");
    for (edge, handshake) in [
        (&reading, HANDSHAKE),
        (&none, HANDSHAKE),
        (&all, &HANDSHAKE.replace("Upgrade: websocket", "Upgrade: h2c")),
        (&all, &HANDSHAKE.replace("Upgrade: websocket", "Upgrade: TLS/1.3, HTTP/2.0")),
        (&all, &HANDSHAKE.replace("keep-alive, Upgrade", "keep-alive")),
        (&all, &old),
    ] {
        edge.purge(&["/*"]).await;
        for expected in ["Miss", "Hit"] {
            let handshake = handshake.replace("keep-alive", "close");
            let answer = raw(edge.address, handshake.as_bytes()).await;
            assert!(answer.contains(" 200 OK\r\n"), "{handshake} {answer}");
            assert!(answer.contains(&format!("{expected} from forebay")), "{handshake} {answer}");
            assert!(!script.last().contains_key("upgrade"), "{handshake}");
        }
    }
}

#[tokio::test]
async fn a_bucket_never_gets_one() {
    let bucket = Bucket::start().await;
    bucket.put("chat", "content");
    let edge = Edge::before(&bucket);
    let answer = raw(edge.address, HANDSHAKE.replace("keep-alive", "close").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("content"), "{answer}");
}

#[tokio::test]
async fn an_origin_may_switch_only_to_a_requested_protocol() {
    let origin = WireOrigin::start().await;
    let edge = Edge::before_origin(origin.address, &all_methods());
    for answer in [
        SWITCHED.replace("websocket", "h2c"),
        SWITCHED.replace("Upgrade: websocket", "X-Upgrade: websocket"),
        SWITCHED.replace("Connection: Upgrade", "Connection: close"),
    ] {
        let mut viewer = Wire::connect(edge.address, HANDSHAKE).await;
        let (mut origin, _) = origin.accept().await;
        origin.send(&answer).await;
        assert!(viewer.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 502 "), "{answer}");
    }
}

#[tokio::test]
async fn a_silent_origin_ends_the_tunnel() {
    let origin = WireOrigin::start().await;
    let lines = Lines { origin: "tunnel_idle_timeout = \"200ms\"", ..all_methods() };
    let edge = Edge::before_origin(origin.address, &lines);
    let (mut viewer, mut origin) = tunnel(&edge, &origin).await;
    viewer.send("only the viewer speaks").await;
    assert_eq!(viewer.read_rest().await, "");
    assert_eq!(origin.read_rest().await, "only the viewer speaks");
}

#[tokio::test]
async fn tunnels_are_limited_apart_from_requests() {
    let origin = WireOrigin::start().await;
    let lines = Lines { origin: "max_tunnels = 1\nmax_connections = 1", ..all_methods() };
    let edge = Edge::before_origin(origin.address, &lines);
    let (viewer, first) = tunnel(&edge, &origin).await;
    let refused = raw(edge.address, HANDSHAKE.replace("keep-alive", "close").as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    // The only connection for other requests is free.
    let mut other = Wire::connect(edge.address, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let (mut second, _) = origin.accept().await;
    second.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes").await;
    assert!(other.read_until("yes").await.starts_with("HTTP/1.1 200 "));
    drop((viewer, first));
    edge.metrics_have("forebay_origin_tunnels{distribution=\"media\",origin=\"app\"} 0").await;
    drop(second);
    tunnel(&edge, &origin).await;
}

#[tokio::test]
async fn a_drain_cuts_tunnels() {
    let origin = WireOrigin::start().await;
    let mut edge = Edge::before_origin(origin.address, &all_methods());
    let (mut viewer, mut origin) = tunnel(&edge, &origin).await;
    let running = edge.running.take().expect("running");
    assert!(running.stop().await, "within the time for open requests");
    assert_eq!(viewer.read_rest().await, "");
    assert_eq!(origin.read_rest().await, "");
}
