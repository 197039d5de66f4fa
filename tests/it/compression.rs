//! Compression: the encoding each viewer gets, and the headers with it.

use std::io::Read;

use http::StatusCode;

use crate::support::{
    edge::{Edge, Lines},
    script::Script,
    viewer::Answer,
};

const CSS: &str = "Content-Type: text/css";
const ETAG: &str = "ETag: \"tag\"";

fn sheet(rules: usize) -> String {
    let rule = |n| format!(".rule-{n} {{ margin: {}px; color: #{n:06x} }}", n % 7);
    (0..rules).map(rule).collect::<Vec<_>>().join("\n")
}

async fn before(fields: &[&str], content: &str) -> (Edge, Script) {
    let script = Script::start().await;
    script.then(200, fields, content);
    let top = r#"
[[cache_policy]]
name = "own"
min_ttl = "1s"
enable_accept_encoding_gzip = true
enable_accept_encoding_brotli = true
enable_accept_encoding_zstd = true
query_strings = "all"
"#;
    let lines = Lines { top, policy: Some("own"), behavior: "compress = true", ..Lines::default() };
    (Edge::before_script(&script, &lines), script)
}

async fn get(edge: &Edge, accept: &str, more: &[(&str, &str)]) -> Answer {
    let viewer = edge.viewer().field("accept-encoding", accept);
    more.iter().fold(viewer, |viewer, (name, value)| viewer.field(name, value)).get("/a.css").await
}

fn decode(answer: &Answer) -> String {
    let (mut text, content) = (String::new(), &answer.content[..]);
    match answer.field("content-encoding") {
        "br" => brotli::Decompressor::new(content, 4096).read_to_string(&mut text),
        "gzip" => flate2::read::GzDecoder::new(content).read_to_string(&mut text),
        "zstd" => zstd::Decoder::new(content).expect("zstd").read_to_string(&mut text),
        _ => std::io::Cursor::new(content).read_to_string(&mut text),
    }
    .expect("well formed");
    text
}

/// Queues one response per viewer with a different `Accept-Encoding`: the origin may have encodings of its own.
fn again(script: &Script, content: &str, times: usize) {
    for _ in 0..times {
        script.then(200, &[CSS, ETAG], content);
    }
}

#[tokio::test]
async fn each_viewer_gets_the_coding_it_likes_best() {
    let text = sheet(2000);
    let (edge, script) = before(&[CSS, ETAG], &text).await;
    again(&script, &text, 5);
    for (accept, coding) in [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("gzip", "gzip"),
        ("br;q=0.1, gzip;q=0.9", "gzip"),
        ("identity;q=0, *", "br"),
        ("identity", ""),
        ("gzip;q=0", ""),
    ] {
        for _ in 0..2 {
            let answer = get(&edge, accept, &[]).await;
            assert_eq!(answer.field("content-encoding"), coding, "{accept}");
            assert_eq!(answer.field("vary"), "Accept-Encoding", "{accept}");
            assert_eq!(answer.field("content-length"), answer.content.len().to_string());
            assert_eq!(decode(&answer), text, "{accept}");
            let (etag, ranges) =
                if coding.is_empty() { ("\"tag\"", "bytes") } else { ("W/\"tag\"", "") };
            assert_eq!((answer.field("etag"), answer.field("accept-ranges")), (etag, ranges));
            let head = edge.viewer().field("accept-encoding", accept).head("/a.css").await;
            for name in ["content-encoding", "content-length", "etag", "vary"] {
                assert_eq!(head.field(name), answer.field(name), "{accept}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn what_was_stored_once_serves_all_its_codings() {
    let text = sheet(300);
    let (edge, script) = before(&[CSS, ETAG], &text).await;
    for accept in ["br, gzip", "gzip;q=1.0, br;q=0.5", "br, gzip"] {
        assert_eq!(decode(&get(&edge, accept, &[]).await), text);
    }
    assert_eq!(script.requests(), 1);
}

#[tokio::test]
async fn ranges_are_of_the_bytes_as_they_are_stored() {
    let text = sheet(300);
    let (edge, script) = before(&[CSS, ETAG], &text).await;
    assert_eq!(get(&edge, "br", &[]).await.field("content-encoding"), "br");
    let part = get(&edge, "br", &[("range", "bytes=10-19")]).await;
    assert_eq!((part.status, part.field("content-encoding")), (StatusCode::PARTIAL_CONTENT, ""));
    assert_eq!((&part.content[..], part.field("etag")), (&text.as_bytes()[10..20], "\"tag\""));
    assert_eq!(part.field("vary"), "Accept-Encoding");
    for (tag, status) in [("\"tag\"", 206), ("W/\"tag\"", 200)] {
        let answer = get(&edge, "br", &[("range", "bytes=0-9"), ("if-range", tag)]).await;
        assert_eq!((answer.status.as_u16(), answer.field("content-encoding")), (status, ""));
    }
    assert_eq!(script.requests(), 1);
}

#[tokio::test]
async fn either_tag_finds_the_viewers_copy_current() {
    let (edge, _script) = before(&[CSS, ETAG], &sheet(300)).await;
    assert_eq!(get(&edge, "gzip", &[]).await.status, StatusCode::OK);
    for tag in ["\"tag\"", "W/\"tag\""] {
        let answer = get(&edge, "gzip", &[("if-none-match", tag)]).await;
        assert_eq!((answer.status, answer.field("etag")), (StatusCode::NOT_MODIFIED, "W/\"tag\""));
        assert_eq!(answer.field("content-encoding"), "");
    }
    // A strong condition applies to the stored bytes.
    let answer = get(&edge, "gzip", &[("if-match", "\"tag\"")]).await;
    assert_eq!((answer.status, answer.field("content-encoding")), (StatusCode::OK, ""));
}

#[tokio::test]
async fn what_is_not_worth_it_goes_out_as_it_is() {
    let long = sheet(300);
    for (fields, content) in [
        (&["Content-Type: image/png", ETAG][..], &long[..]),
        (&[CSS, ETAG, "Content-Encoding: aes128gcm"], &long),
        (&[CSS, ETAG, "Cache-Control: no-transform"], &long),
        (&[CSS, ETAG], "short"),
        (&[ETAG], &long),
    ] {
        let (edge, _script) = before(fields, content).await;
        let answer = get(&edge, "br, gzip", &[]).await;
        assert_eq!(&answer.content[..], content.as_bytes());
        assert_eq!((answer.field("vary"), answer.field("etag")), ("", "\"tag\""));
    }
}

#[tokio::test]
async fn an_object_of_many_slices_is_compressed_as_a_whole() {
    let text = sheet(20_000);
    assert!(text.len() > 10 * (64 << 10));
    let (edge, script) = before(&[CSS, ETAG], &text).await;
    let viewers = (0..8).map(|_| get(&edge, "br", &[]));
    for answer in futures_util::future::join_all(viewers).await {
        assert_eq!(answer.field("content-encoding"), "br");
        assert_eq!(decode(&answer), text);
    }
    assert_eq!(script.requests(), 1);
    assert_eq!(get(&edge, "br", &[]).await.x_cache(), "Hit");
    let metrics = edge.metrics().await;
    let once = "forebay_compressed_total{coding=\"br\"} 1";
    assert!(metrics.contains(once), "eight viewers, one compression: {metrics}");
}

#[tokio::test]
async fn a_purge_takes_the_compressed_form_too() {
    let (edge, script) = before(&[CSS, ETAG], &sheet(300)).await;
    assert_eq!(get(&edge, "br", &[]).await.x_cache(), "Miss");
    edge.purge(&["/a.css"]).await;
    let newer = sheet(400);
    script.then(200, &[CSS, "ETag: \"newer\""], &newer);
    let answer = get(&edge, "br", &[]).await;
    assert_eq!((answer.x_cache(), answer.field("etag")), ("Miss", "W/\"newer\""));
    assert_eq!(decode(&answer), newer);
}

#[tokio::test]
async fn a_304_renews_the_compressed_form() {
    let text = sheet(300);
    let (edge, script) = before(&[CSS, ETAG, "X-Example: first"], &text).await;
    get(&edge, "br", &[]).await;
    edge.clock.advance(std::time::Duration::from_secs(100_000));
    script.then(304, &[ETAG, "X-Example: second"], "");
    for expected in ["RefreshHit", "Hit"] {
        let answer = get(&edge, "br", &[]).await;
        assert_eq!((answer.x_cache(), answer.field("x-example")), (expected, "second"));
        assert_eq!((answer.field("content-encoding"), decode(&answer)), ("br", text.clone()));
    }
}

#[tokio::test]
async fn a_head_of_something_unknown_is_told_as_a_get_would_be() {
    let (edge, script) = before(&[CSS, ETAG, "Content-Length: 5000"], "").await;
    let head = edge.viewer().field("accept-encoding", "br").head("/a.css").await;
    assert_eq!((head.field("content-encoding"), head.field("etag")), ("br", "W/\"tag\""));
    assert_eq!((head.field("vary"), head.field("content-length")), ("Accept-Encoding", ""));
    script.then(200, &[CSS, ETAG, "Content-Length: 5000"], "");
    let head = edge.viewer().head("/a.css").await;
    assert_eq!((head.field("content-encoding"), head.field("content-length")), ("", "5000"));
}

#[tokio::test]
async fn nothing_is_compressed_for_those_who_get_no_content() {
    let (edge, _script) = before(&[CSS, ETAG], &sheet(300)).await;
    get(&edge, "br", &[("range", "bytes=0-9")]).await;
    let current = get(&edge, "br", &[("if-none-match", "W/\"tag\"")]).await;
    assert_eq!((current.status, current.field("etag")), (StatusCode::NOT_MODIFIED, "W/\"tag\""));
    assert_eq!((current.field("vary"), current.field("content-encoding")), ("Accept-Encoding", ""));
    let metrics = edge.metrics().await;
    assert!(!metrics.contains("forebay_compressed_total{"), "{metrics}");
}
