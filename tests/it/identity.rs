//! Headers that identify the server and the request.

use http::StatusCode;

use crate::support::{
    edge::{Edge, Lines},
    script::Script,
};

const FRESH: &str = "Cache-Control: max-age=60";

async fn before(lines: &Lines<'_>) -> (Edge, Script) {
    let script = Script::start().await;
    script.then(200, &[FRESH, "Server-Timing: db;dur=5"], "content");
    (Edge::before_script(&script, lines), script)
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own() {
    let (edge, _script) = before(&Lines::default()).await;
    let mut ids = std::collections::BTreeSet::new();
    for path in ["/a", "/a", "/a", "/a", "/%zz"] {
        let answer = edge.get(path).await;
        assert_eq!(answer.fields.get_all("x-request-id").iter().count(), 1);
        assert_eq!(answer.field("x-request-id").len(), 22);
        assert_eq!(answer.field("x-amz-cf-id"), "");
        ids.insert(answer.field("x-request-id").to_owned());
    }
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn answers_can_look_like_cloudfronts() {
    let distribution = "compatibility = \"cloudfront\"";
    let lines = Lines { listen: "pop = \"HEL50-C2\"", distribution, ..Lines::default() };
    let (edge, _script) = before(&lines).await;
    for expected in ["Miss from cloudfront", "Hit from cloudfront", "Hit from cloudfront"] {
        let answer = edge.get("/a").await;
        assert_eq!(answer.field("x-cache"), expected);
        assert_eq!(answer.field("x-amz-cf-pop"), "HEL50-C2");
        let id = answer.field("x-amz-cf-id");
        assert!(id.len() == 56 && id.ends_with("=="), "{id}");
        let via = answer.field("via");
        assert!(via.starts_with("1.1 ") && via.ends_with(".cloudfront.net (CloudFront)"), "{via}");
        assert_eq!((answer.field("cache-status"), answer.field("x-request-id")), ("", ""));
    }
}

#[tokio::test]
async fn a_request_that_comes_back_is_refused() {
    let (edge, script) = before(&Lines::default()).await;
    edge.get("/a").await;
    let via = script.last().get("via").expect("via").to_str().expect("text").to_owned();
    let looping = edge.viewer().field("via", &format!("1.1 other, {via}")).get("/b").await;
    assert_eq!(looping.status, StatusCode::LOOP_DETECTED);
    script.then(200, &[FRESH], "b");
    let chained = edge.viewer().field("via", "1.1 forebay-0123456789abcdef").get("/b").await;
    assert_eq!(chained.status, StatusCode::OK);
}

#[tokio::test]
async fn server_timing_is_sent_for_a_sample_or_on_request() {
    let policy = |percent| {
        format!(
            "[[response_headers_policy]]\nname = \"timed\"\n[response_headers_policy.server_timing]\nsampling_rate = {percent}"
        )
    };
    let behavior = "response_headers_policy = \"timed\"";
    let top = policy(100);
    let (edge, _script) = before(&Lines { top: &top, behavior, ..Lines::default() }).await;
    let miss = edge.get("/a").await;
    let timings: Vec<_> = miss.fields.get_all("server-timing").iter().collect();
    assert_eq!(
        (timings.len(), timings[0].as_bytes()),
        (2, &b"db;dur=5"[..]),
        "the origin's own comes along"
    );
    let text = timings[1].to_str().expect("text");
    for part in ["cdn-cache-miss", ";dur=", "cdn-pop;desc=\"EDGE\"", "fbl;dur=", "cdn-rid;desc=\""]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(text.contains(miss.field("x-request-id")));
    let hit = edge.get("/a").await;
    let text = hit.field("server-timing");
    assert!(text.starts_with("cdn-cache-hit,"), "{text}");
    assert!(text.contains("cdn-hit-layer;desc=\"EDGE\"") && !text.contains("db;dur"), "{text}");
    let top = policy(0);
    let (edge, _script) = before(&Lines { top: &top, behavior, ..Lines::default() }).await;
    assert_eq!(edge.get("/a").await.field("server-timing"), "db;dur=5");
    assert_eq!(edge.get("/a").await.field("server-timing"), "");
    let asked = edge.viewer().field("pragma", "server-timing").get("/a").await;
    assert!(asked.field("server-timing").starts_with("cdn-cache-hit"));
}

/// As with CloudFront, the origin receives the same request id as the viewer.
#[tokio::test]
async fn an_origin_gets_the_requests_id_in_cloudfronts_field() {
    for (distribution, is_sent) in [("compatibility = \"cloudfront\"", true), ("", false)] {
        let script = Script::start().await;
        let edge = Edge::before_script(&script, &Lines { distribution, ..Lines::default() });
        for (method, path) in [("GET", "/a"), ("HEAD", "/b")] {
            script.then(200, &["Cache-Control: max-age=60"], "");
            let viewer = edge.viewer().field("x-amz-cf-id", "forged");
            let answer = viewer.send(method, path, "").await;
            let sent =
                script.last().get("x-amz-cf-id").map(|id| id.to_str().expect("text").to_owned());
            let expected = is_sent.then(|| answer.field("x-amz-cf-id").to_owned());
            assert_eq!(sent, expected, "{method}");
            assert_eq!(sent.map(|id| id.len()), is_sent.then_some(56), "{method}");
        }
    }
}
