//! Interim responses of origins.

use std::time::Duration;

use crate::support::{
    edge::{Edge, Lines},
    time::pass,
    viewer::raw,
    wire::{Wire, WireOrigin},
};

const GET: &str = "GET /page HTTP/1.1\r\nHost: h\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\
    Set-Cookie: a=b\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n";
const SEEN: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n";
const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\npage";

#[tokio::test]
async fn interim_responses_reach_the_viewer_before_the_response_exists() {
    let origin = WireOrigin::start().await;
    for policy in ["CachingDisabled", "CachingOptimized"] {
        let lines = Lines { policy: Some(policy), ..Lines::default() };
        let edge = Edge::before_origin(origin.address, &lines);
        let mut viewer = Wire::connect(edge.address, GET).await;
        let (mut origin, _) = origin.accept().await;
        origin.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        origin.send(HINTS).await;
        assert_eq!(viewer.read_until("\r\n\r\n").await, SEEN, "{policy}");
        origin.send("HTTP/1.1 102 Processing\r\n\r\n").await;
        let processing = viewer.read_until("\r\n\r\n").await;
        assert_eq!(processing, "HTTP/1.1 102 Processing\r\n\r\n");
        origin.send(PAGE).await;
        let head = viewer.read_until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("link: "), "{head}");
        assert_eq!(viewer.read_until("page").await, "page");
    }
}

#[tokio::test]
async fn each_interim_response_precedes_its_own_response() {
    let origin = WireOrigin::start().await;
    let lines = Lines { policy: Some("CachingDisabled"), ..Lines::default() };
    let edge = Edge::before_origin(origin.address, &lines);
    let closing = GET.replace("Host", "Connection: close\r\nHost");
    let mut viewer = Wire::connect(edge.address, &format!("{GET}{GET}{closing}")).await;
    let (mut origin, _) = origin.accept().await;
    for number in 0..3 {
        if number > 0 {
            origin.read_until("\r\n\r\n").await;
        }
        // One segment: the response is there as soon as the hints.
        origin.send(&format!("{HINTS}{PAGE}")).await;
    }
    let seen = viewer.read_rest().await;
    let statuses: Vec<&str> =
        seen.split("HTTP/1.1 ").skip(1).filter_map(|response| response.get(..3)).collect();
    assert_eq!(statuses, ["103", "200", "103", "200", "103", "200"], "{seen}");
}

#[tokio::test]
async fn a_hit_has_no_interim_response() {
    let origin = WireOrigin::start().await;
    let edge = Edge::before_origin(origin.address, &Lines::default());
    let mut viewer = Wire::connect(edge.address, GET).await;
    let (mut origin, _) = origin.accept().await;
    origin.send(&format!("{HINTS}{PAGE}")).await;
    assert_eq!(viewer.read_until("\r\n\r\n").await, SEEN);
    viewer.read_until("page").await;
    viewer.send(GET).await;
    let hit = viewer.read_until("page").await;
    assert!(hit.starts_with("HTTP/1.1 200 ") && hit.contains("Hit from forebay"), "{hit}");
}

#[tokio::test]
async fn viewers_that_do_not_know_interim_responses_get_none() {
    let origin = WireOrigin::start().await;
    let lines = Lines { policy: Some("CachingDisabled"), ..Lines::default() };
    let edge = Edge::before_origin(origin.address, &lines);
    let old = GET.replace("HTTP/1.1", "HTTP/1.0");
    let (viewer, ()) = tokio::join!(raw(edge.address, old.as_bytes()), async {
        let (mut origin, _) = origin.accept().await;
        origin.send(&format!("{HINTS}{PAGE}")).await;
    });
    assert!(viewer.starts_with("HTTP/1.0 200 ") && viewer.ends_with("page"), "{viewer}");
}

#[tokio::test]
async fn endless_interim_responses_end_with_the_timeout() {
    let origin = WireOrigin::start().await;
    let lines = Lines {
        policy: Some("CachingDisabled"),
        origin: "response_attempts = 1",
        ..Lines::default()
    };
    let edge = Edge::before_origin(origin.address, &lines);
    let mut viewer = Wire::connect(edge.address, GET).await;
    let (mut origin, _) = origin.accept().await;
    tokio::spawn(async move {
        loop {
            origin.send(HINTS).await;
            pass(Duration::from_millis(1)).await;
        }
    });
    for _ in 0..32 {
        assert_eq!(viewer.read_until("\r\n\r\n").await, SEEN);
    }
    let last = viewer.read_until("\r\n\r\n").await;
    assert!(last.starts_with("HTTP/1.1 504 "), "{last}");
}

#[tokio::test]
async fn a_validation_in_the_background_sends_no_interim_response() {
    const SOON_STALE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\
        Cache-Control: max-age=1, stale-while-revalidate=600\r\n\r\npage";
    let origin = WireOrigin::start().await;
    let lines = Lines { behavior: "compress = true", ..Lines::default() };
    let edge = Edge::before_origin(origin.address, &lines);
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
    let mut viewer = Wire::connect(edge.address, &get("/stale")).await;
    let (mut first, _) = origin.accept().await;
    first.send(SOON_STALE).await;
    viewer.read_until("page").await;
    viewer.send(&get("/text")).await;
    first.read_until("\r\n\r\n").await;
    let text = "text ".repeat(1000);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\
        Cache-Control: max-age=600\r\nETag: \"a\"\r\n\r\n";
    first.send(&format!("{head}{text}")).await;
    let answered = viewer.read_until("\r\n\r\n").await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    // A stale response is validated while the next request waits for its content to be compressed.
    let mut viewer = Wire::connect(edge.address, "").await;
    edge.clock.advance(std::time::Duration::from_secs(5));
    viewer.send(&get("/stale")).await;
    viewer.read_until("page").await;
    let validation = first.read_until("\r\n\r\n").await;
    assert!(validation.starts_with("GET /stale "), "{validation}");
    viewer.send(&get("/text")).await;
    first.send(HINTS).await;
    let answered = viewer.read_until("\r\n\r\n").await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
}

#[tokio::test]
async fn a_head_request_gets_interim_responses_unless_they_are_off() {
    let origin = WireOrigin::start().await;
    let head = GET.replace("GET", "HEAD");
    for (setting, first) in [("true", "103"), ("false", "200")] {
        let setting = format!("interim_responses = {setting}");
        let lines = Lines { policy: Some("CachingDisabled"), origin: &setting, ..Lines::default() };
        let edge = Edge::before_origin(origin.address, &lines);
        let mut viewer = Wire::connect(edge.address, &head).await;
        let (mut origin, _) = origin.accept().await;
        origin.send(&format!("{HINTS}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")).await;
        let answered = viewer.read_until("\r\n\r\n").await;
        assert!(answered.starts_with(&format!("HTTP/1.1 {first} ")), "{answered}");
    }
}
