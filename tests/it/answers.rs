//! Responses that similar caches get wrong or serve stale, tested from outside.

use std::time::Duration;

use crate::support::{
    edge::{Edge, Lines, config_for},
    script::Script,
    time::eventually,
    viewer::Answer,
};

const FRESH: &str = "Cache-Control: max-age=60";

/// An edge in front of a scripted origin, with these lines in its cache policy.
async fn edge(policy: &str) -> (Edge, Script) {
    let script = Script::start().await;
    let top = format!(
        "[[cache_policy]]\nname = \"own\"\ndefault_ttl = 86400\n{policy}\n\
         [[origin_request_policy]]\nname = \"origin\"\nheaders = {{ whitelist = [\"Origin\"] }}"
    );
    let lines = Lines {
        top: &top,
        policy: Some("own"),
        behavior: "origin_request_policy = \"origin\"",
        ..Lines::default()
    };
    (Edge::before_script(&script, &lines), script)
}

fn pass(edge: &Edge, seconds: u64) {
    edge.clock.advance(Duration::from_secs(seconds));
}

fn seen(answer: &Answer) -> (u16, &str, &str) {
    (answer.status.as_u16(), std::str::from_utf8(&answer.content).expect("text"), answer.x_cache())
}

/// S3 sends `Vary: Origin` only if the request has an `Origin`.
#[tokio::test]
async fn a_response_without_vary_does_not_hide_the_variants() {
    let (edge, script) = edge("").await;
    let site = || edge.viewer().field("origin", "https://site.example");
    let cors = "Access-Control-Allow-Origin: https://site.example";
    script.then(200, &[FRESH, "ETag: \"1\"", "Vary: Origin", cors], "cors");
    script.then(200, &[FRESH], "plain");
    assert_eq!(seen(&site().get("/a").await), (200, "cors", "Miss"));
    assert_eq!(seen(&edge.get("/a").await), (200, "plain", "Miss"));
    let again = site().get("/a").await;
    assert_eq!(seen(&again), (200, "cors", "Hit"));
    assert_eq!(again.field("access-control-allow-origin"), "https://site.example");
    let plain = edge.get("/a").await;
    assert_eq!((seen(&plain), plain.field("vary")), ((200, "plain", "Hit"), "origin"));
    // A 304 without `Vary` keeps the stored `Vary`, too.
    pass(&edge, 61);
    script.then(304, &[FRESH], "").then(200, &[FRESH], "plain");
    assert_eq!(seen(&site().get("/a").await), (200, "cors", "RefreshHit"));
    assert_eq!(seen(&edge.get("/a").await).2, "Miss");
    // A purge also discards the known `Vary`.
    edge.purge(&["/a"]).await;
    script.then(200, &[FRESH], "new");
    assert_eq!(seen(&edge.get("/a").await), (200, "new", "Miss"));
    assert_eq!(seen(&site().get("/a").await), (200, "new", "Hit"));
    // A `Vary` learned after a purge is kept, too.
    for _ in 0..2 {
        edge.purge(&["/a"]).await;
        script.then(200, &[FRESH, "Vary: Origin", cors], "cors").then(200, &[FRESH], "plain");
        assert_eq!(seen(&site().get("/a").await), (200, "cors", "Miss"));
        assert_eq!(seen(&edge.get("/a").await), (200, "plain", "Miss"));
        assert_eq!(seen(&site().get("/a").await), (200, "cors", "Hit"));
    }
}

#[tokio::test]
async fn an_error_without_vary_keeps_the_variants_and_is_told_apart() {
    let (edge, script) = edge("").await;
    let site = || edge.viewer().field("origin", "https://site.example");
    script.then(200, &[FRESH, "Vary: Origin"], "cors").then(404, &[], "gone");
    assert_eq!(seen(&site().get("/a").await), (200, "cors", "Miss"));
    assert_eq!(edge.get("/a").await.status, 404);
    assert_eq!(seen(&site().get("/a").await), (200, "cors", "Hit"));
}

#[tokio::test]
async fn a_range_of_unknown_length_reaches_the_viewer_who_requested_it() {
    let (edge, script) = edge("").await;
    let part = ["Content-Range: bytes 0-1/*", FRESH];
    for _ in 0..4 {
        script.then(206, &part, "ab");
    }
    for _ in 0..2 {
        let answer = edge.viewer().field("range", "bytes=0-1").get("/live").await;
        assert_eq!((answer.status.as_u16(), &answer.content[..]), (206, &b"ab"[..]));
        assert_eq!(answer.field("content-range"), "bytes 0-1/*");
    }
    assert_eq!(script.last()["range"], "bytes=0-1");
}

#[tokio::test]
async fn a_bucket_that_sends_another_range_than_the_requested_one_is_not_believed() {
    let script = Script::start().await;
    let edge = Edge::with(&config_for(script.address, "slice = \"64KiB\"", ""));
    for (range, wrong) in [
        (Some("bytes=0-9"), "Content-Range: bytes 1-10/100"),
        (Some("bytes=0-9"), "Content-Range: bytes 0-9/*"),
        (Some("bytes=0-9"), "X: none"),
        (None, "Content-Range: bytes 0-9/10"),
    ] {
        script.answer_when(|_| (500, ""));
        script.then(206, &["ETag: \"1\"", FRESH, wrong], "0123456789");
        let viewer = edge.viewer();
        let viewer = match range {
            Some(range) => viewer.field("range", range),
            None => viewer,
        };
        let answer = viewer.get("/a").await;
        assert_eq!(answer.status, 502, "{range:?} {wrong}");
        let before = script.requests();
        edge.get("/a").await;
        pass(&edge, 11);
        edge.get("/a").await;
        assert!(script.requests() > before, "nothing of it is stored");
        pass(&edge, 11);
    }
}

#[tokio::test]
async fn requests_that_expect_content_say_so_if_there_is_none() {
    let script = Script::start().await;
    let behavior = "allowed_methods = \"all\"";
    let edge = Edge::before_script(&script, &Lines { behavior, ..Lines::default() });
    for (method, length) in [
        ("POST", Some("0")),
        ("PUT", Some("0")),
        ("PATCH", Some("0")),
        ("DELETE", None),
        ("GET", None),
    ] {
        script.then(200, &["Cache-Control: no-store"], "");
        edge.viewer().send(method, "/a", "").await;
        let fields = script.last();
        assert_eq!(
            fields.get("content-length").map(|v| v.to_str().expect("text")),
            length,
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_fresh_response_that_the_request_refuses_is_reported_so() {
    let (edge, script) = edge("honor_request_directives = true").await;
    script.then(200, &[FRESH, "ETag: \"1\""], "a").then(304, &[FRESH, "ETag: \"1\""], "");
    edge.get("/a").await;
    let validated = edge.viewer().field("cache-control", "no-cache").get("/a").await;
    assert!(validated.field("cache-status").starts_with("Forebay; fwd=request;"), "{validated:?}");
}

#[tokio::test]
async fn the_endpoint_of_a_bucket_may_have_a_path() {
    let script = Script::start().await;
    let endpoint = format!("endpoint = \"http://{}/storage/v1/s3/\"", script.address);
    let plain = format!("endpoint = \"http://{}\"", script.address);
    let edge = Edge::with(&config_for(script.address, "", "").replace(&plain, &endpoint));
    script.then(200, &[FRESH], "a");
    assert_eq!(edge.get("/photos/a b.jpg".replace(' ', "%20").as_str()).await.status, 200);
    assert_eq!(script.last_target(), "/storage/v1/s3/media/photos/a%20b.jpg");
    assert!(script.last()["authorization"].to_str().expect("text").starts_with("AWS4-HMAC-SHA256"));
}

#[tokio::test]
async fn an_explicit_stale_directive_wins_over_s_maxage() {
    let (edge, script) = edge("").await;
    for (path, directives, expected) in [
        ("/while", "s-maxage=1, stale-while-revalidate=60", (200, "old", "Hit")),
        ("/error", "s-maxage=1, stale-if-error=60", (200, "old", "Error")),
        ("/shared", "s-maxage=1", (503, "", "Error")),
        ("/must", "s-maxage=1, stale-if-error=60, must-revalidate", (503, "", "Error")),
    ] {
        script.answer_when(|_| (503, ""));
        script.then(200, &[&format!("Cache-Control: {directives}"), "ETag: \"1\""], "old");
        assert_eq!(edge.get(path).await.status, 200);
        pass(&edge, 2);
        let requests = script.requests();
        let answer = edge.get(path).await;
        eventually(|| script.requests() > requests).await;
        assert_eq!(answer.status, expected.0, "{path}");
        if expected.0 == 200 {
            assert_eq!(&answer.content[..], expected.1.as_bytes(), "{path}");
        }
    }
}

#[tokio::test]
async fn a_minimum_ttl_over_no_cache_keeps_the_old_copy_when_the_origin_fails() {
    let (edge, script) = edge("min_ttl = 1\nhonor_private = \"cloudfront\"").await;
    for (path, directives, status) in [
        ("/kept", "no-cache", 200),
        ("/forbidden", "no-cache, stale-if-error=0", 503),
        ("/must", "no-cache, must-revalidate", 503),
    ] {
        script.answer_when(|_| (503, ""));
        script.then(200, &[&format!("Cache-Control: {directives}"), "ETag: \"1\""], "old");
        assert_eq!(edge.get(path).await.status, 200);
        assert_eq!(edge.get(path).await.x_cache(), "Hit");
        pass(&edge, 2);
        assert_eq!(edge.get(path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn gone_is_remembered_as_long_as_not_found() {
    let (edge, script) = edge("").await;
    for status in [404, 410] {
        let path = format!("/{status}");
        script.then(status, &[], "").then(status, &[], "");
        assert_eq!(edge.get(&path).await.status, status);
        let before = script.requests();
        assert_eq!(edge.get(&path).await.status, status);
        assert_eq!(script.requests(), before);
        pass(&edge, 11);
        edge.get(&path).await;
        assert_eq!(script.requests(), before + 1, "{status}");
    }
}

#[tokio::test]
async fn an_entity_tag_without_quotes_matches_its_echo() {
    let (edge, script) = edge("").await;
    script.then(200, &[FRESH, "ETag: abc123"], "a");
    let first = edge.get("/a").await;
    let echo = first.field("etag").to_owned();
    assert_eq!(edge.viewer().field("if-none-match", &echo).get("/a").await.status, 304);
    assert_eq!(edge.viewer().field("if-none-match", "abc12").get("/a").await.status, 200);
    assert_eq!(edge.viewer().field("if-match", &echo).get("/a").await.status, 412);
}

#[tokio::test]
async fn accept_ranges_is_kept_on_responses_that_are_not_stored() {
    let (edge, script) = edge("").await;
    let fields = ["Cache-Control: private", "Accept-Ranges: bytes", "ETag: \"1\""];
    script.then(200, &fields, "a").then(200, &fields, "a");
    for _ in 0..2 {
        assert_eq!(edge.get("/private").await.field("accept-ranges"), "bytes");
    }
    script.then(200, &[FRESH, "Accept-Ranges: none"], "a");
    for result in ["Miss", "Hit"] {
        let stored = edge.get("/stored").await;
        assert_eq!((stored.x_cache(), stored.field("accept-ranges")), (result, "bytes"));
    }
}

#[tokio::test]
async fn a_purge_of_a_folder_is_about_its_index_document() {
    let script = Script::start().await;
    let distribution = "index_document = \"index.html\"\ndefault_root_object = \"home/start.html\"";
    let edge = Edge::before_script(&script, &Lines { distribution, ..Lines::default() });
    script.answer_when(|_| (200, "page"));
    for (requested, purged) in [
        ("/docs/", "/docs/"),
        ("/docs/", "/docs/index.html"),
        ("/docs/", "/docs/*"),
        ("/docs/", "/doc*"),
        ("/docs/index.html", "/docs/"),
        ("/docs/", "//docs/"),
        ("/a%20b/", "/a b/"),
        ("/", "/"),
        ("/", "/home/start.html"),
        ("/", "/*"),
        ("/home/start.html", "/"),
    ] {
        edge.get(requested).await;
        assert_eq!(edge.get(requested).await.x_cache(), "Hit", "{requested}");
        edge.purge(&[purged]).await;
        assert_eq!(edge.get(requested).await.x_cache(), "Miss", "{requested} after {purged}");
    }
    edge.get("/docs/a").await;
    edge.purge(&["/docs/"]).await;
    assert_eq!(edge.get("/docs/a").await.x_cache(), "Hit", "a folder's URL is not its content");
}

#[tokio::test]
async fn a_response_may_have_many_fields_within_limits_of_their_own() {
    let script = Script::start().await;
    let origin = "max_response_fields = 200";
    let edge = Edge::before_script(&script, &Lines { origin, ..Lines::default() });
    for (count, status) in [(110, 200), (190, 200), (210, 502)] {
        let lines: Vec<String> = (0..count).map(|number| format!("X-{number}: 1")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        script.then(200, &lines, "many");
        let answer = edge.get(&format!("/{count}")).await;
        assert_eq!(answer.status, status, "{count}");
        if status == 200 {
            assert_eq!(answer.field(&format!("x-{}", count - 1)), "1");
        }
    }
    let metrics = edge.metrics().await;
    assert!(metrics.contains("origin-connection"), "{metrics}");
}
