//! Further attempts at an origin: continuations, retries, backoff, and their budget.

use std::time::Duration;

use http::StatusCode;
use s3s::S3ErrorCode;
use tokio::task::JoinSet;

use crate::{
    plain_origin::{config, ok, scripted},
    support::{
        bucket::{Bucket, Got},
        edge::{Edge, Lines, config_for},
        script::Script,
        time::pass,
        viewer::{pattern, read},
    },
};

const CACHE: &str = "memory = \"64MiB\"\nslice = \"64KiB\"";

#[tokio::test]
async fn a_response_that_breaks_off_is_continued_for_all_viewers() {
    let bucket = Bucket::start().await;
    let content = pattern(2 << 20);
    bucket.put("a.bin", content.clone());
    let edge = Edge::with(&config_for(bucket.address, CACHE, ""));
    bucket.cut_next_body_after(700_000);
    bucket.gate(500_000);
    let mut viewers = JoinSet::new();
    for _ in 0..5 {
        viewers.spawn(read(edge.viewer().begin("GET", "/a.bin", "").await));
    }
    bucket.gate(usize::MAX);
    while let Some(answer) = viewers.join_next().await {
        let answer = answer.expect("viewer");
        assert!(!answer.aborted && answer.content == content);
    }
    let [first, rest] = &bucket.gets()[..] else { panic!("{:?}", bucket.gets()) };
    assert_eq!((&first.range, first.if_match), (&None, false));
    let Got { range: Some(range), if_match: true, .. } = rest else { panic!("{rest:?}") };
    let start: usize =
        range["bytes=".len()..range.find('-').expect("a range")].parse().expect("a number");
    assert!(
        (500_000..=700_000 + 16_384).contains(&start) && range.ends_with("-2097151"),
        "{range}"
    );
    assert_eq!(edge.get("/a.bin").await.content, content);
    assert_eq!(bucket.gets().len(), 2, "all of it is stored");
}

/// Ranges and uncacheable responses are continued as well.
#[tokio::test]
async fn parts_and_passed_responses_are_continued() {
    let bucket = Bucket::start().await;
    let content = pattern(1 << 20);
    bucket.put("a.bin", content.clone());
    bucket.put_with("mine.bin", content.clone(), Some("private"));
    let edge = Edge::with(&config_for(bucket.address, CACHE, ""));
    bucket.cut_next_body_after(50_000);
    let part = edge.viewer().field("range", "bytes=131072-524287").get("/a.bin").await;
    assert!(!part.aborted && part.content == content[131_072..524_288]);
    assert_eq!(bucket.gets().len(), 2);
    bucket.cut_next_body_after(300_000);
    let mine = edge.get("/mine.bin").await;
    assert!(!mine.aborted && mine.content == content);
    assert_eq!(bucket.gets().len(), 4);
}

#[tokio::test]
async fn a_continuation_never_joins_two_versions() {
    let bucket = Bucket::start().await;
    let old = pattern(1 << 20);
    let new: bytes::Bytes = old.iter().map(|byte| byte ^ 0xff).collect();
    bucket.put("a.bin", old.clone());
    let edge = Edge::with(&config_for(bucket.address, CACHE, ""));
    bucket.cut_next_body_after(400_000);
    bucket.gate(300_000);
    let response = edge.viewer().begin("GET", "/a.bin", "").await;
    bucket.put("a.bin", new.clone());
    bucket.gate(usize::MAX);
    let answer = read(response).await;
    assert!(answer.aborted && old.starts_with(&answer.content));
    assert_eq!(edge.get("/a.bin").await.content, new);
}

#[tokio::test]
async fn an_origin_that_always_breaks_off_gets_few_further_requests() {
    let bucket = Bucket::start().await;
    let edge = Edge::with(&config_for(bucket.address, CACHE, ""));
    bucket.cut_bodies_after(Some(16_384));
    for n in 0..50 {
        bucket.put(&format!("{n}.bin"), pattern(100_000 + n));
        edge.get(&format!("/{n}.bin")).await;
    }
    let requests = bucket.gets().len();
    assert!((60..=66).contains(&requests), "{requests}: 50, ten saved retries, one in ten more");
}

/// Three throttled objects in a row mean a throttling bucket; then only one request per pause is sent.
#[tokio::test]
async fn a_throttling_bucket_gets_few_requests() {
    let bucket = Bucket::start().await;
    bucket.put_with("old.png", "image", Some("max-age=60"));
    let edge = Edge::with(&config_for(bucket.address, CACHE, ""));
    assert_eq!(edge.get("/old.png").await.x_cache(), "Miss");
    edge.clock.advance(Duration::from_secs(100));
    bucket.fail_with(Some(S3ErrorCode::SlowDown));
    for n in 0..100 {
        let answer = edge.get(&format!("/{n}.png")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.field("cache-status").ends_with("detail=origin-throttled"), "{answer:?}");
    }
    let requests = bucket.gets().len();
    assert!(requests <= 1 + 3 * 3, "{requests} requests: three with two further attempts each");
    let stale = edge.get("/old.png").await;
    assert_eq!((stale.status, &stale.content[..]), (StatusCode::OK, &b"image"[..]));
    assert_eq!(bucket.gets().len(), requests, "stale copies are served without the origin");
    // The pause ends: one request finds that the bucket still throttles, so the next pause is longer.
    edge.clock.advance(Duration::from_millis(500));
    edge.get("/x.png").await;
    edge.get("/y.png").await;
    assert_eq!(bucket.gets().len(), requests + 1);
    bucket.fail_with(None);
    edge.clock.advance(Duration::from_secs(16));
    assert_eq!(edge.get("/x.png").await.status, StatusCode::NOT_FOUND);
    assert_eq!(edge.get("/old.png").await.status, StatusCode::OK);
}

/// CloudFront sends a GET without a response up to three times, its number of connection attempts.
#[tokio::test]
async fn a_get_without_a_response_is_sent_again() {
    for (attempts, requests, status) in [("", 2, 200), ("response_attempts = 1", 1, 504)] {
        let script = Script::start().await;
        let edge = Edge::before_script(&script, &Lines { origin: attempts, ..Lines::default() });
        script.then(200, &["cache-control: max-age=60"], "late");
        script.then(200, &["cache-control: max-age=60"], "late");
        script.hold();
        let answer = tokio::spawn(edge.viewer().get("/a"));
        script.asked(requests).await;
        if requests > 1 {
            script.release();
        }
        assert_eq!(answer.await.expect("viewer").status.as_u16(), status);
        assert_eq!(script.requests(), requests);
    }
}

#[tokio::test]
async fn a_post_is_sent_once() {
    let script = Script::start().await;
    let behavior = "allowed_methods = \"all\"";
    let edge = Edge::before_script(&script, &Lines { behavior, ..Lines::default() });
    script.hold();
    let answer = edge.viewer().send("POST", "/a", "content").await;
    assert_eq!((answer.status.as_u16(), script.requests()), (504, 1));
}

/// The origin keeps sending, but slowly: without a completion timeout this would take minutes.
#[tokio::test]
async fn a_response_must_complete_in_time() {
    let bucket = Bucket::start().await;
    bucket.put("a.bin", pattern(60 << 20));
    let text = config_for(bucket.address, CACHE, "").replace(
        "response_timeout = \"2s\"",
        "response_timeout = \"2s\"\ncompletion_timeout = \"2s\"",
    );
    let edge = Edge::with(&text);
    bucket.gate(20_000);
    let response = tokio::spawn(read(edge.viewer().begin("GET", "/a.bin", "").await));
    let mut open = 20_000;
    while !response.is_finished() {
        open += 1000;
        bucket.gate(open);
        pass(Duration::from_millis(10)).await;
    }
    let answer = response.await.expect("viewer");
    assert!(answer.aborted && bucket.gets().len() == 1, "{:?}", bucket.gets());
}

/// A bucket that fails for one object serves the others.
#[tokio::test]
async fn one_broken_object_stops_no_other() {
    let script = Script::start().await;
    script.answer_when(|request| match request.uri().path() {
        "/media/broken.png" => (503, "<Error><Code>SlowDown</Code></Error>"),
        _ => (200, "image"),
    });
    let edge = Edge::with(&config_for(script.address, CACHE, ""));
    for _ in 0..5 {
        assert_eq!(edge.get("/broken.png").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(edge.get("/other.png").await.status, StatusCode::OK);
}

/// A HEAD for a missing key shows that the bucket works again.
#[tokio::test]
async fn a_head_ends_a_pause_too() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let edge = Edge::with(&config_for(bucket.address, CACHE, ""));
    bucket.fail_with(Some(S3ErrorCode::SlowDown));
    for n in 0..3 {
        edge.get(&format!("/{n}.png")).await;
    }
    bucket.fail_with(None);
    assert_eq!(edge.get("/a.png").await.status, StatusCode::SERVICE_UNAVAILABLE);
    edge.clock.advance(Duration::from_secs(1));
    assert_eq!(edge.viewer().head("/missing.png").await.status, StatusCode::NOT_FOUND);
    assert_eq!(edge.get("/a.png").await.status, StatusCode::OK);
}

/// Only the actual rest of a response is joined to its beginning.
#[tokio::test]
async fn only_the_rest_itself_is_joined() {
    let part = |fields: &str, length: usize| {
        let content = "x".repeat(length);
        format!(
            "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n\r\n{content}"
        )
    };
    let etag = "ETag: \"1\"";
    for rest in [
        ok(etag, 100_000, &"x".repeat(100_000)),
        part(
            "ETag: \"1\"\r\nContent-Encoding: gzip\r\nContent-Range: bytes 70000-99999/100000",
            30_000,
        ),
        part("ETag: \"1\"\r\nContent-Range: bytes 70001-99999/100000", 29_999),
        part("ETag: \"1\"\r\nContent-Range: bytes 70000-99999/100001", 30_000),
        part("ETag: \"1\"\r\nContent-Range: bytes 70000-99999/100000", 29_000),
        part("ETag: \"2\"\r\nContent-Range: bytes 70000-99999/100000", 30_000),
        part("Content-Range: bytes 70000-99999/100000", 30_000),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ] {
        let first =
            ok(&format!("{etag}\r\nCache-Control: max-age=60"), 100_000, &"a".repeat(70_000));
        let edge = Edge::with(&config(scripted(vec![first, rest.clone()]).await));
        let answer = edge.get("/a").await;
        assert!(answer.aborted, "{}", &rest[..60]);
        assert!(answer.content.iter().all(|byte| *byte == b'a'), "{}", &rest[..60]);
    }
    let good = part("ETag: \"1\"\r\nContent-Range: bytes 70000-99999/100000", 30_000);
    let first = ok(&format!("{etag}\r\nCache-Control: max-age=60"), 100_000, &"a".repeat(70_000));
    let edge = Edge::with(&config(scripted(vec![first, good]).await));
    let answer = edge.get("/a").await;
    assert_eq!((answer.aborted, answer.content.len()), (false, 100_000));
    assert!(answer.content.ends_with(b"ax") || answer.content.ends_with(b"xx"));
}
