//! Origin groups: failover from a failing primary to the secondary.

use std::time::Duration;

use s3s::S3ErrorCode;

use crate::support::{
    bucket::Bucket,
    edge::{Edge, Lines, config_for},
    script::Script,
    viewer::Answer,
};

const FRESH: &str = "Cache-Control: max-age=60";

/// `codes` lists the statuses that trigger failover.
async fn pair(codes: &str) -> (Edge, Script, Script) {
    let (primary, secondary) = (Script::start().await, Script::start().await);
    let more = format!(
        r#"
[[distribution.origin]]
id = "second"
url = "http://{}"
connect_attempts = 1
response_timeout = "1s"
[[distribution.origin_group]]
id = "both"
members = ["app", "second"]
failover_status_codes = {codes}
[[distribution.behavior]]
path_pattern = "/both/*"
origin = "both"
cache_policy = "UseOriginCacheControlHeaders"
allowed_methods = "all"
"#,
        secondary.address
    );
    let lines = Lines { more: &more, ..Lines::default() };
    (Edge::before_script(&primary, &lines), primary, secondary)
}

fn status_and_text(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), std::str::from_utf8(&answer.content).expect("text"))
}

#[tokio::test]
async fn listed_codes_turn_to_the_secondary() {
    let (edge, primary, secondary) = pair("[404, 503]").await;
    primary.then(200, &[FRESH], "from the first");
    assert_eq!(status_and_text(&edge.get("/both/a").await), (200, "from the first"));
    for code in [404, 503] {
        primary.then(code, &[], "no");
        secondary.then(200, &[FRESH], "from the second");
        let path = format!("/both/{code}");
        for _ in 0..2 {
            assert_eq!(status_and_text(&edge.get(&path).await), (200, "from the second"));
        }
    }
    primary.then(500, &["Cache-Control: no-store"], "not listed");
    assert_eq!(status_and_text(&edge.get("/both/500").await), (500, "not listed"));
    assert_eq!((primary.requests(), secondary.requests()), (4, 2));
    let metrics = edge.metrics().await;
    let failovers = "forebay_origin_failovers_total{distribution=\"media\",origin=\"both\"} 2";
    assert!(metrics.contains(failovers), "{metrics}");
}

#[tokio::test]
async fn a_primary_that_cuts_or_is_silent_is_replaced() {
    // The primary has no queued response and cuts the connection.
    let (edge, _primary, secondary) = pair("[503, 504]").await;
    secondary.then(200, &[FRESH], "from the second");
    assert_eq!(status_and_text(&edge.get("/both/a").await), (200, "from the second"));
    // The list contains no code for this failure.
    let (edge, _primary, secondary) = pair("[404]").await;
    secondary.then(200, &[FRESH], "from the second");
    assert_eq!(edge.get("/both/a").await.status.as_u16(), 502);
    assert_eq!(secondary.requests(), 0);
}

#[tokio::test]
async fn the_better_of_two_bad_answers_counts() {
    let (edge, primary, secondary) = pair("[404, 503]").await;
    primary.then(404, &[], "gone");
    secondary.then(403, &[], "not here");
    assert_eq!(status_and_text(&edge.get("/both/a").await), (403, "not here"));
    // The secondary is unreachable: the primary's response counts.
    primary.then(404, &[], "gone");
    assert_eq!(status_and_text(&edge.get("/both/b").await), (404, "gone"));
}

#[tokio::test]
async fn unsafe_requests_go_to_the_primary_alone() {
    let (edge, primary, secondary) = pair("[503]").await;
    primary.then(503, &[], "overloaded");
    let answer = edge.viewer().send("POST", "/both/form", "a=b").await;
    assert_eq!(status_and_text(&answer), (503, "overloaded"));
    assert_eq!(secondary.requests(), 0);
}

#[tokio::test]
async fn a_primary_that_keeps_failing_is_left_alone_and_tried_again() {
    let (edge, primary, secondary) = pair("[503]").await;
    for n in 0..10 {
        primary.then(503, &[], "overloaded");
        secondary.then(200, &[FRESH], "from the second");
        assert_eq!(
            status_and_text(&edge.get(&format!("/both/{n}")).await),
            (200, "from the second")
        );
    }
    assert_eq!((primary.requests(), secondary.requests()), (5, 10));
    edge.clock.advance(Duration::from_secs(11));
    for _ in 0..5 {
        primary.pop();
    }
    primary.then(200, &[FRESH], "recovered").then(200, &[FRESH], "again");
    assert_eq!(status_and_text(&edge.get("/both/later").await), (200, "recovered"));
    assert_eq!(status_and_text(&edge.get("/both/after").await), (200, "again"));
    assert_eq!(secondary.requests(), 10);
}

#[tokio::test]
async fn failures_that_are_not_listed_leave_the_primary_in_use() {
    let (edge, primary, secondary) = pair("[404]").await;
    for n in 0..8 {
        primary.then(500, &["Cache-Control: no-store"], "broken");
        assert_eq!(status_and_text(&edge.get(&format!("/both/{n}")).await), (500, "broken"));
    }
    assert_eq!((primary.requests(), secondary.requests()), (8, 0));
}

#[tokio::test]
async fn options_are_replaced_too() {
    let (edge, primary, secondary) = pair("[503]").await;
    primary.then(503, &[], "overloaded");
    secondary.then(200, &["Allow: GET"], "");
    let answer = edge.viewer().send("OPTIONS", "/both/a", "").await;
    assert_eq!((answer.status.as_u16(), answer.field("allow")), (200, "GET"));
}

#[tokio::test]
async fn a_buckets_errors_count_by_their_status() {
    let bucket = Bucket::start().await;
    let script = Script::start().await;
    bucket.fail_with(Some(S3ErrorCode::InternalError));
    for (codes, expected) in [("[500]", 200), ("[503]", 503)] {
        let extra = format!(
            "[[distribution.origin]]\nid = \"second\"\nurl = \"http://{}\"\n[[distribution.origin_group]]\nid = \"both\"\nmembers = [\"bucket\", \"second\"]\nfailover_status_codes = {codes}\n[distribution.default_behavior]\norigin = \"both\"",
            script.address
        );
        let text = config_for(bucket.address, "", "");
        let text = text.replace("[distribution.default_behavior]\norigin = \"bucket\"", &extra);
        let edge = Edge::with(&text);
        script.then(200, &[FRESH], "from the second");
        assert_eq!(edge.get("/a").await.status.as_u16(), expected, "{codes}");
    }
}
