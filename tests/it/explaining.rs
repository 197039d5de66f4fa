//! `forebay explain`: its prediction matches the next request.

use std::{process::Command, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    edge::{Edge, Lines},
    script::Script,
    viewer::{Answer, Viewer},
};

const OWN: &str = r#"
[[cache_policy]]
name = "own"
min_ttl = "0s"
honor_request_directives = true
headers = ["X-Key"]
query_strings = "all"
"#;

const PRIVATE: &str = r#"
[[distribution.behavior]]
path_pattern = "/never/*"
origin = "app"
cache_policy = "CachingDisabled"
[[distribution.behavior]]
path_pattern = "/safe/*"
origin = "app"
cache_policy = "own"
viewer_protocol_policy = "redirect-to-https"
"#;

async fn question(edge: &Edge, question: &Value) -> Answer {
    let admin = Viewer::new(edge.running().admin_address.expect("admin"));
    admin
        .field("content-type", "application/json")
        .send("POST", "/explain", question.to_string())
        .await
}

async fn explain(edge: &Edge, path: &str, fields: &[(&str, &str)]) -> Value {
    let url = format!("http://media.example.com{path}");
    let answer = question(edge, &json!({"url": url, "fields": fields})).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.content);
    serde_json::from_slice(&answer.content).expect("JSON")
}

/// Compares the explanation with the request that follows it.
async fn agree(edge: &Edge, path: &str, fields: &[(&str, &str)], expected: &str, why: &str) {
    let explained = explain(edge, path, fields).await;
    let again = explain(edge, path, fields).await;
    assert_eq!(explained["next"], again["next"], "an explanation changes nothing");
    let viewer = edge.viewer().field("host", "media.example.com");
    let viewer = fields.iter().fold(viewer, |viewer, (name, value)| viewer.field(name, value));
    let seen = viewer.get(path).await;
    assert_eq!(explained["next"]["result"], seen.x_cache(), "{path} {fields:?}: {explained}");
    assert_eq!(seen.x_cache(), expected, "{path} {fields:?}: {explained}");
    let text = explained["next"]["why"].as_str().expect("a reason");
    assert!(text.contains(why), "{path} {fields:?}: {text}");
}

fn before(script: &Script) -> Edge {
    let behavior = "origin_request_policy = \"AllViewer\"";
    let lines =
        Lines { top: OWN, policy: Some("own"), behavior, more: PRIVATE, ..Lines::default() };
    Edge::before_script(script, &lines)
}

#[tokio::test]
async fn what_is_told_is_what_the_next_request_sees() {
    let script = Script::start().await;
    let edge = before(&script);
    let for_a_minute = &["Cache-Control: max-age=60", "ETag: \"a\""][..];
    let wait = |seconds| edge.clock.advance(Duration::from_secs(seconds));

    script.then(200, for_a_minute, "a").then(304, for_a_minute, "").then(304, for_a_minute, "");
    agree(&edge, "/a", &[], "Miss", "nothing is stored under this key").await;
    agree(&edge, "/a", &[], "Hit", "it is fresh").await;
    let explained = explain(&edge, "/a", &[("expect", "foo")]).await;
    assert_eq!(explained["refused"]["status"], 417);
    let explained = explain(&edge, "/a", &[("content-length", "3")]).await;
    assert_eq!(explained["refused"]["reason"], "unexpected-content");
    agree(
        &edge,
        "/a",
        &[("cache-control", "no-cache")],
        "RefreshHit",
        "the request demands validation",
    )
    .await;
    wait(61);
    agree(&edge, "/a", &[], "RefreshHit", "it is stale").await;
    edge.purge(&["/a"]).await;
    script.then(200, for_a_minute, "b");
    agree(&edge, "/a", &[], "Miss", "it was purged after it was stored").await;
    script.then(200, for_a_minute, "c");
    agree(&edge, "/a", &[("x-key", "other")], "Miss", "nothing is stored under this key").await;
    script.then(200, &["Cache-Control: max-age=60"], "bare").then(200, for_a_minute, "bare");
    agree(&edge, "/bare", &[], "Miss", "nothing").await;
    wait(61);
    agree(&edge, "/bare", &[], "Miss", "neither ETag nor Last-Modified").await;

    let meanwhile = &["Cache-Control: max-age=60, stale-while-revalidate=60", "ETag: \"a\""][..];
    script.then(200, meanwhile, "a").then(304, for_a_minute, "");
    agree(&edge, "/while", &[], "Miss", "nothing").await;
    wait(61);
    agree(&edge, "/while", &[], "Hit", "served while it is validated").await;
}

#[tokio::test]
async fn variants_errors_and_what_is_not_stored() {
    let script = Script::start().await;
    let edge = before(&script);
    let only = [("cache-control", "only-if-cached")];
    agree(&edge, "/a", &only, "Error", "only-if-cached").await;
    let viewer = || edge.viewer().field("host", "media.example.com");

    script.then(404, &["Cache-Control: max-age=60"], "gone");
    viewer().get("/gone").await;
    agree(&edge, "/gone", &[], "Error", "the origin has no such object").await;

    script.then(200, &["Cache-Control: no-store"], "a").then(
        200,
        &["Cache-Control: no-store"],
        "b",
    );
    agree(&edge, "/unstored", &[], "Miss", "nothing is stored").await;
    agree(&edge, "/unstored", &[], "Miss", "because it has Cache-Control: no-store").await;

    script.then(200, &[], "a").then(200, &[], "b").then(200, &[], "c");
    agree(&edge, "/never/a", &[], "Miss", "maximum TTL is 0").await;
    agree(&edge, "/never/a", &[], "Miss", "maximum TTL is 0").await;
    agree(&edge, "/b", &[("cache-control", "no-store")], "Miss", "no-store").await;

    let varies = ["Cache-Control: max-age=60", "Vary: X-Language"];
    script.then(200, &varies, "fi").then(200, &varies, "sv");
    agree(&edge, "/v", &[("x-language", "fi")], "Miss", "nothing is stored").await;
    agree(&edge, "/v", &[("x-language", "fi")], "Hit", "it is fresh").await;
    agree(&edge, "/v", &[("x-language", "sv")], "Miss", "no stored variant").await;
    let explained = explain(&edge, "/v", &[("x-language", "sv")]).await;
    assert_eq!(explained["variants"], json!({"vary": ["x-language"], "count": 2}));
}

#[tokio::test]
async fn what_is_asked_of_an_object_counts() {
    let script = Script::start().await;
    let edge = before(&script);
    let whole = "x".repeat(200_000);
    let part = ["Cache-Control: max-age=60", "ETag: \"a\"", "Content-Range: bytes 0-65535/200000"];
    script.then(206, &part, &whole[..65_536]);
    let range = [("range", "bytes=0-9")];
    agree(&edge, "/a", &range, "Miss", "nothing is stored").await;
    agree(&edge, "/a", &range, "Hit", "it is fresh").await;
    agree(&edge, "/a", &[("range", "bytes=900000-")], "Error", "416").await;
    agree(&edge, "/a", &[("if-match", "\"b\"")], "Error", "412").await;
    agree(&edge, "/a", &[("if-none-match", "\"a\"")], "Hit", "it is fresh").await;
    let rest =
        ["Cache-Control: max-age=60", "ETag: \"a\"", "Content-Range: bytes 65536-199999/200000"];
    script.then(206, &rest, &whole[65_536..]);
    agree(&edge, "/a", &[], "Miss", "bytes that the request needs are missing").await;

    script.then(200, &["Cache-Control: no-store"], "a");
    agree(&edge, "/unstored", &[], "Miss", "nothing is stored").await;
    let only = [("cache-control", "only-if-cached")];
    agree(&edge, "/unstored", &only, "Error", "only-if-cached").await;
}

#[tokio::test]
async fn to_explain_is_not_to_ask() {
    let script = Script::start().await;
    let distribution = "minimum_protocol_version = \"TLSv1.3_2025\"";
    let more = "[distribution.rate_limit]\nper_client = { requests = 1, per = \"1h\" }";
    let edge = Edge::before_script(&script, &Lines { distribution, more, ..Lines::default() });
    for _ in 0..3 {
        assert_eq!(explain(&edge, "/a", &[]).await["refused"], Value::Null);
    }
    let asked = json!({"url": "https://media.example.com/a"});
    let explained: Value =
        serde_json::from_slice(&question(&edge, &asked).await.content).expect("JSON");
    assert_eq!(
        (&explained["refused"], &explained["next"]["result"]),
        (&Value::Null, &json!("Miss"))
    );
    script.then(200, &[], "a");
    assert_eq!(edge.get("/a").await.status, StatusCode::OK);
}

#[tokio::test]
async fn refusals_are_told_with_their_reason() {
    let script = Script::start().await;
    let edge = before(&script);
    let explained = explain(&edge, "/a%zz", &[]).await;
    let refused = &explained["refused"];
    assert_eq!((&refused["status"], &refused["reason"]), (&json!(400), &json!("path-bad-escape")));
    assert_eq!(refused["fix"], "write `%25` for a percent sign");
    let explained = explain(&edge, "/safe/a", &[]).await;
    assert_eq!(explained["next"]["result"], "Redirect");
    assert_eq!(
        (&explained["behavior"], &explained["distribution"]),
        (&json!("/safe/*"), &json!("media"))
    );
    for (asked, word) in [
        (json!({"url": "media.example.com/a"}), "is not a URL"),
        (json!({"url": "http://a/b", "method": "G E T"}), "is not an HTTP method"),
        (json!({"url": "http://a/b", "fields": [["a b", "c"]]}), "fields"),
        (json!({"url": "http://a/b", "field": []}), "invalid request"),
    ] {
        let answer = question(&edge, &asked).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{asked}");
        let text = String::from_utf8_lossy(&answer.content);
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(script.requests(), 0, "nothing is asked");
}

#[tokio::test]
async fn the_program_tells_it_line_by_line() {
    let script = Script::start().await;
    let edge = before(&script);
    let fields = ["Cache-Control: max-age=60", "ETag: \"a\""];
    script.then(200, &fields, "content");
    edge.viewer().field("x-key", "k").get("/a%20b?x=1").await;
    edge.clock.advance(Duration::from_secs(10));
    let admin = edge.running().admin_address.expect("admin").to_string();
    let run = |more: &'static [&'static str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_forebay"));
        program.args(["explain", "--admin", &admin, "http://media.example.com/a%20b?x=1"]);
        program.args(more).env_remove("AWS_ACCESS_KEY_ID");
        tokio::task::spawn_blocking(move || {
            String::from_utf8(program.output().expect("ran").stdout).expect("text")
        })
    };
    let text = run(&["-H", "X-Key: k"]).await.expect("joined");
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("date: ")).collect();
    assert_eq!(
        lines,
        [
            "distribution  media",
            "path          /a%20b",
            "behavior      default, origin app",
            "signature     not needed",
            "key           /a%20b  ?x=1  x-key: k",
            "stored        200, 7 bytes, in memory",
            "              cache-control: max-age=60",
            "              etag: \"a\"",
            "policy        minimum TTL 0 s, default 86400 s, maximum 31536000 s",
            "freshness     lifetime 1m, age 10s: fresh for another 50s",
            "next          Hit: it is fresh",
        ]
    );
    let explained = run(&["--json"]).await.expect("joined");
    let explained: Value = serde_json::from_str(&explained).expect("JSON");
    assert_eq!((&explained["key"], &explained["stored"]), (&json!(["?x=1"]), &Value::Null));
}

#[tokio::test]
async fn an_upgrade_that_is_ignored_is_explained() {
    let script = Script::start().await;
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    for (origin, behavior, expected) in [
        ("", "", "the behavior does not allow all methods"),
        ("max_tunnels = 0", "allowed_methods = \"all\"", "the origin's `max_tunnels` is 0"),
        ("", "allowed_methods = \"all\"", "the request asks to switch protocols"),
    ] {
        let edge = Edge::before_script(&script, &Lines { origin, behavior, ..Lines::default() });
        let explained = explain(&edge, "/chat", &upgrade).await;
        let why = explained["next"]["why"].as_str().expect("a reason");
        assert!(why.contains(expected), "{why}");
        let explained = explain(&edge, "/chat", &[]).await;
        assert!(!explained["next"]["why"].as_str().expect("a reason").contains("Upgrade"));
    }
}
