//! HEAD: how it is stored, and its effect on GETs.

use std::time::Duration;

use crate::support::{
    bucket::Bucket,
    edge::{Edge, Lines, config_for},
    script::Script,
    viewer::pattern,
};

#[tokio::test]
async fn a_head_is_stored_and_a_get_fetches_the_object() {
    let bucket = Bucket::start().await;
    let content = pattern(200_000);
    bucket.put("a.bin", content.clone());
    let edge = Edge::before(&bucket);
    let head = edge.viewer().head("/a.bin").await;
    assert_eq!((head.x_cache(), head.field("content-length")), ("Miss", "200000"));
    let etag = head.field("etag").to_owned();
    let head = edge.viewer().head("/a.bin").await;
    assert_eq!((head.x_cache(), head.field("content-length")), ("Hit", "200000"));
    assert_eq!((bucket.heads(), bucket.gets().len()), (1, 0));
    let unchanged = edge.viewer().field("if-none-match", &etag).head("/a.bin").await;
    assert_eq!((unchanged.status.as_u16(), unchanged.x_cache()), (304, "Hit"));
    let get = edge.get("/a.bin").await;
    assert_eq!((get.x_cache(), get.content == content), ("Miss", true));
    assert_eq!(edge.get("/a.bin").await.x_cache(), "Hit");
    assert_eq!(edge.viewer().head("/a.bin").await.x_cache(), "Hit");
    assert_eq!((bucket.heads(), bucket.gets().len()), (1, 1));
}

#[tokio::test]
async fn ranges_and_conditions_after_a_head_fetch_the_object() {
    let bucket = Bucket::start().await;
    let content = pattern(200_000);
    for key in ["a.bin", "b.bin"] {
        bucket.put(key, content.clone());
    }
    let edge = Edge::before(&bucket);
    edge.viewer().head("/a.bin").await;
    let part = edge.viewer().field("range", "bytes=100000-100009").get("/a.bin").await;
    assert_eq!((part.status.as_u16(), &part.content[..]), (206, &content[100_000..100_010]));
    let etag = edge.viewer().head("/b.bin").await.field("etag").to_owned();
    let unchanged = edge.viewer().field("if-none-match", &etag).get("/b.bin").await;
    assert_eq!((unchanged.status.as_u16(), unchanged.x_cache()), (304, "Miss"));
}

#[tokio::test]
async fn heads_and_gets_of_a_cold_object_wait_for_each_other() {
    let bucket = Bucket::start().await;
    let content = pattern(100_000);
    bucket.put("a.bin", content.clone());
    let edge = Edge::before(&bucket);
    let mut viewers = tokio::task::JoinSet::new();
    for n in 0..40 {
        let viewer = edge.viewer();
        viewers.spawn(async move {
            if n % 2 == 0 { viewer.head("/a.bin").await } else { viewer.get("/a.bin").await }
        });
    }
    while let Some(answer) = viewers.join_next().await {
        let answer = answer.expect("viewer");
        assert_eq!((answer.status.as_u16(), answer.aborted), (200, false));
        assert_eq!(answer.field("content-length"), "100000");
        assert!(answer.content.is_empty() || answer.content == content);
    }
    assert!(bucket.heads() <= 1 && bucket.gets().len() == 1, "{:?}", bucket.gets());
}

#[tokio::test]
async fn a_missing_key_found_by_a_head_is_missing_for_gets_too() {
    let bucket = Bucket::start().await;
    let edge = Edge::before(&bucket);
    for _ in 0..2 {
        assert_eq!(edge.viewer().head("/no.png").await.status, 404);
    }
    let requests = (bucket.heads(), bucket.gets().len());
    let get = edge.get("/no.png").await;
    assert_eq!(get.status, 404);
    assert!(get.content.starts_with(b"404"), "{get:?}");
    assert_eq!((bucket.heads(), bucket.gets().len()), requests);
    bucket.put("no.png", "it is there now");
    edge.clock.advance(Duration::from_secs(11));
    assert_eq!(edge.get("/no.png").await.content, "it is there now");
}

#[tokio::test]
async fn heads_of_plain_origins() {
    let script = Script::start().await;
    let edge =
        Edge::before_script(&script, &Lines { behavior: "compress = true", ..Lines::default() });
    // The response has no length and would be compressed for a GET.
    let css = ["content-type: text/css", "cache-control: max-age=60", "etag: \"a\""];
    script.then(200, &css, &"body { color: red }\n".repeat(100));
    for x_cache in ["Miss", "Hit"] {
        let head = edge.viewer().field("accept-encoding", "br").head("/a.css").await;
        assert_eq!((head.x_cache(), head.field("content-encoding")), (x_cache, "br"));
        assert_eq!(head.field("vary"), "Accept-Encoding");
        assert_eq!((head.field("content-length"), head.field("accept-ranges")), ("", ""));
    }
    // `Accept-Encoding` is in the key of a plain origin's objects.
    script.then(200, &css, &"body { color: red }\n".repeat(100));
    for x_cache in ["Miss", "Hit"] {
        let head = edge.viewer().head("/a.css").await;
        assert_eq!((head.x_cache(), head.field("content-length")), (x_cache, "2000"));
    }
    // A plain origin's error has its own page, which only a GET fetches.
    script.then(404, &[], "the page of the site");
    assert_eq!(edge.viewer().head("/no").await.status, 404);
    assert_eq!(edge.viewer().head("/no").await.x_cache(), "Error");
    assert_eq!(script.requests(), 3);
    script.then(404, &[], "the page of the site");
    assert_eq!(edge.get("/no").await.content, "the page of the site");
    // Uncacheable responses are not stored.
    for _ in 0..2 {
        script.then(200, &["cache-control: no-store"], "");
        assert_eq!(edge.viewer().head("/mine").await.x_cache(), "Miss");
    }
    assert_eq!(script.requests(), 6);
}

#[tokio::test]
async fn a_stale_head_is_replaced_or_stays_if_the_origin_fails() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &Lines::default());
    script.then(200, &["cache-control: max-age=60"], "one");
    edge.viewer().head("/a").await;
    edge.clock.advance(Duration::from_secs(61));
    script.then(200, &["cache-control: max-age=60"], "three");
    let head = edge.viewer().head("/a").await;
    assert_eq!((head.x_cache(), head.field("content-length")), ("Miss", "5"));
    edge.clock.advance(Duration::from_secs(61));
    let head = edge.viewer().head("/a").await;
    assert_eq!((head.status.as_u16(), head.field("content-length")), (200, "5"));
}

/// RFC 9111 §4.3.5, for a HEAD that does not use the cache.
#[tokio::test]
async fn a_head_that_differs_makes_the_stored_object_stale() {
    let script = Script::start().await;
    let top = r#"
[[cache_policy]]
name = "own"
max_ttl = "1d"
honor_request_directives = true
"#;
    let edge =
        Edge::before_script(&script, &Lines { top, policy: Some("own"), ..Lines::default() });
    let one = ["etag: \"1\"", "cache-control: max-age=600"];
    script.then(200, &one, "one");
    assert_eq!(edge.get("/a").await.content, "one");
    let passed = || edge.viewer().field("cache-control", "no-store").head("/a");
    script.then(200, &one, "one");
    passed().await;
    assert_eq!(edge.get("/a").await.x_cache(), "Hit");
    let two = ["etag: \"2\"", "cache-control: max-age=600"];
    script.then(200, &two, "two!");
    passed().await;
    script.then(200, &two, "two!");
    assert_eq!(edge.get("/a").await.content, "two!");
}

/// A GET that waits for a HEAD does not receive its failure.
#[tokio::test]
async fn a_failing_head_fails_no_get() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &Lines::default());
    script.hold();
    let head = tokio::spawn(edge.viewer().head("/a"));
    script.asked(1).await;
    let get = tokio::spawn(edge.viewer().get("/a"));
    script.then(503, &["cache-control: no-store"], "");
    script.then(200, &["cache-control: max-age=60"], "content");
    script.release();
    assert_eq!(head.await.expect("viewer").status, 503);
    let get = get.await.expect("viewer");
    assert_eq!((get.status.as_u16(), &get.content[..]), (200, &b"content"[..]));
}

/// An uncacheable HEAD says nothing about GETs.
#[tokio::test]
async fn a_head_that_is_not_stored_keeps_no_get_from_being_stored() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &Lines::default());
    script.then(200, &["cache-control: no-store"], "");
    edge.viewer().head("/a").await;
    script.then(200, &["cache-control: max-age=60"], "content");
    assert_eq!(edge.get("/a").await.x_cache(), "Miss");
    assert_eq!(edge.get("/a").await.x_cache(), "Hit");
}

/// The object is uploaded between the HEAD and the GET that looks up its error.
#[tokio::test]
async fn an_error_that_only_a_head_has_answers_no_get() {
    let script = Script::start().await;
    let edge = Edge::with(&config_for(script.address, "memory = \"32MiB\"", ""));
    script.then(404, &[], "");
    let fields = ["cache-control: max-age=31536000", "content-range: bytes 0-0/3", "etag: \"1\""];
    script.then(206, &fields, "n");
    assert_eq!(edge.viewer().head("/new.js").await.status, 404);
    script.then(200, &["cache-control: max-age=60", "etag: \"1\""], "new");
    let get = edge.get("/new.js").await;
    assert_eq!((get.status.as_u16(), &get.content[..]), (200, &b"new"[..]));
}
