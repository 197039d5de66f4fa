//! Caching rules, tested from outside: storing, varying, freshness and revalidation.

use std::time::Duration;

use crate::support::{
    edge::{Edge, LISTEN},
    script::Script,
    time::eventually,
    viewer::Answer,
};

/// An edge in front of a scripted origin: it forwards everything and caches only what the origin allows.
/// `policy` and `distribution` are more lines of TOML.
async fn edge(policy: &str, distribution: &str) -> (Edge, Script) {
    let script = Script::start().await;
    let text = format!(
        r#"{LISTEN}
[[cache_policy]]
name = "own"
min_ttl = 0
default_ttl = 0
query_strings = "all"
{policy}
[[origin_request_policy]]
name = "everything"
query_strings = "all"
headers = {{ all_except = ["X-Hidden"] }}
cookies = "all"
[[distribution]]
id = "media"
aliases = ["*"]
{distribution}
[[distribution.origin]]
id = "app"
url = "http://{}"
signing = "never"
connect_attempts = 1
[distribution.default_behavior]
origin = "app"
cache_policy = "own"
origin_request_policy = "everything"
allowed_methods = "all"
"#,
        script.address
    );
    (Edge::with(&text), script)
}

const FRESH: &str = "Cache-Control: max-age=60";

fn pass_seconds(edge: &Edge, seconds: u64) {
    edge.clock.advance(Duration::from_secs(seconds));
}

fn text(answer: &Answer) -> (u16, &str, &str) {
    (answer.status.as_u16(), std::str::from_utf8(&answer.content).expect("text"), answer.x_cache())
}

#[tokio::test]
async fn variants_are_stored_side_by_side() {
    let (edge, script) = edge("", "").await;
    script.then(200, &[FRESH, "Vary: Accept-Language, X-Hidden"], "en");
    script.then(200, &[FRESH, "Vary: Accept-Language, X-Hidden"], "de");
    let ask = |language, hidden| {
        edge.viewer().field("accept-language", language).field("x-hidden", hidden).get("/a")
    };
    assert_eq!(text(&ask("en", "1").await), (200, "en", "Miss"));
    let other = ask("de", "1").await;
    assert_eq!(text(&other), (200, "de", "Miss"));
    assert!(other.field("cache-status").starts_with("Forebay; fwd=vary-miss"), "{other:?}");
    // headers that the origin never saw do not vary the response
    assert_eq!(text(&ask("en", "2").await), (200, "en", "Hit"));
    assert_eq!(text(&ask("de", "3").await), (200, "de", "Hit"));
    assert_eq!(script.requests(), 2);
    // one purge removes all variants
    assert_eq!(edge.purge(&["/a"]).await.status, 200);
    script.then(200, &[FRESH], "new");
    assert_eq!(text(&ask("en", "1").await), (200, "new", "Miss"));
    assert_eq!(text(&ask("de", "1").await), (200, "new", "Hit"));
}

#[tokio::test]
async fn a_request_that_waited_for_another_variant_asks_for_its_own() {
    let (edge, script) = edge("", "").await;
    let ask = |language: &'static str| edge.viewer().field("accept-language", language).get("/a");
    script.then(200, &[FRESH, "Vary: Accept-Language"], "first");
    script.then(200, &[FRESH, "Vary: Accept-Language"], "second");
    let (en, de) = tokio::join!(ask("en"), ask("de"));
    assert_ne!(en.content, de.content);
    let (en_again, de_again) = (ask("en").await, ask("de").await);
    assert_eq!((en_again.content, de_again.content), (en.content, de.content));
    assert_eq!(script.requests(), 2);
}

#[tokio::test]
async fn vary_can_be_ignored_as_cloudfront_does() {
    let (edge, script) = edge("vary = \"ignore\"", "").await;
    script.then(200, &[FRESH, "Vary: Accept-Language"], "en");
    let ask = |language| edge.viewer().field("accept-language", language).get("/a");
    assert_eq!(text(&ask("en").await), (200, "en", "Miss"));
    assert_eq!(text(&ask("de").await), (200, "en", "Hit"));
}

#[tokio::test]
async fn accept_encoding_is_reduced_to_what_the_policy_names() {
    let policy = "enable_accept_encoding_gzip = true\nenable_accept_encoding_brotli = true";
    let (edge, script) = edge(policy, "").await;
    let ask = |accept| edge.viewer().field("accept-encoding", accept).get("/a");
    script.then(200, &[FRESH, "Vary: Accept-Encoding"], "coded");
    assert_eq!(text(&ask("gzip, deflate, br, zstd").await), (200, "coded", "Miss"));
    assert_eq!(script.last()["accept-encoding"], "br,gzip");
    assert_eq!(text(&ask("br;q=0.9,gzip").await), (200, "coded", "Hit"));
    script.then(200, &[FRESH], "plain");
    assert_eq!(text(&ask("identity").await), (200, "plain", "Miss"));
    assert!(!script.last().contains_key("accept-encoding"));
}

/// Waits until so many stale responses were served for a reason.
async fn served_stale(edge: &Edge, reason: &str, count: usize) {
    let reason = format!("reason=\"{reason}\"}} {count}\n");
    let line = format!("forebay_stale_responses_total{{distribution=\"media\",{reason}");
    edge.metrics_have(&line).await;
}

#[tokio::test]
async fn a_stale_response_is_served_while_it_is_validated() {
    let (edge, script) = edge("", "").await;
    let fields = ["Cache-Control: max-age=10, stale-while-revalidate=30", "ETag: \"1\""];
    script.then(200, &fields, "old");
    assert_eq!(text(&edge.get("/a").await), (200, "old", "Miss"));
    pass_seconds(&edge, 15);
    script.then(200, &[FRESH, "ETag: \"2\""], "new");
    let stale = edge.get("/a").await;
    assert_eq!(text(&stale), (200, "old", "Hit"));
    assert_eq!(stale.field("cache-status"), "Forebay; hit; ttl=-5");
    served_stale(&edge, "allowed", 1).await;
    eventually(|| script.requests() == 2).await;
    assert_eq!(script.last()["if-none-match"], "\"1\"");
    let mut renewed = edge.get("/a").await;
    while renewed.content == "old" {
        renewed = edge.get("/a").await;
    }
    assert_eq!(text(&renewed), (200, "new", "Hit"));
    assert_eq!(script.requests(), 2);
}

#[tokio::test]
async fn a_failing_origin_leaves_the_last_copy_in_use() {
    let (edge, script) = edge("", "").await;
    script.then(200, &["Cache-Control: max-age=10"], "old");
    edge.get("/a").await;
    pass_seconds(&edge, 11);
    script.then(503, &[], "sorry");
    let kept = edge.get("/a").await;
    assert_eq!(text(&kept), (200, "old", "Hit"));
    assert_eq!(kept.field("cache-status"), "Forebay; fwd=stale; ttl=-1; detail=origin-error");
    // no new request to the origin for the error-caching minimum TTL
    assert_eq!(text(&edge.get("/a").await), (200, "old", "Hit"));
    assert_eq!(script.requests(), 2);
    served_stale(&edge, "origin-error", 1).await;
    served_stale(&edge, "allowed", 1).await;
    pass_seconds(&edge, 10);
    // a cut connection counts as any other failure
    assert_eq!(text(&edge.get("/a").await), (200, "old", "Hit"));
    assert!(script.requests() > 2);
    pass_seconds(&edge, 10);
    // a client error is a response: it replaces the stored one
    script.then(404, &[], "gone");
    assert_eq!(text(&edge.get("/a").await), (404, "gone", "Error"));
    assert_eq!(text(&edge.get("/a").await), (404, "gone", "Error"));
}

#[tokio::test]
async fn a_missing_object_may_leave_its_copy_in_use() {
    let (edge, script) = edge("stale_if_missing = \"1m\"", "").await;
    script.then(200, &["Cache-Control: max-age=10"], "old").then(404, &[], "gone");
    edge.get("/a").await;
    pass_seconds(&edge, 11);
    assert_eq!(text(&edge.get("/a").await), (200, "old", "Hit"));
    served_stale(&edge, "origin-missing", 1).await;
    pass_seconds(&edge, 60);
    script.then(404, &[], "gone");
    assert_eq!(text(&edge.get("/a").await), (404, "gone", "Error"));
}

#[tokio::test]
async fn a_viewers_wishes_count_only_where_the_policy_listens() {
    for (policy, listens) in [("", false), ("honor_request_directives = true", true)] {
        let (edge, script) = edge(policy, "").await;
        let get_with = |directive| edge.viewer().field("cache-control", directive).get("/a");
        script.then(200, &[FRESH, "ETag: \"1\""], "a");
        let unknown = get_with("only-if-cached").await;
        if listens {
            assert_eq!(unknown.status, 504);
            edge.get("/a").await;
        }
        script.then(304, &[FRESH, "ETag: \"1\""], "").then(200, &[FRESH], "passed");
        let validated = get_with("no-cache").await;
        assert_eq!(validated.x_cache(), if listens { "RefreshHit" } else { "Hit" });
        let passed = get_with("no-store").await;
        assert_eq!(text(&passed).1, if listens { "passed" } else { "a" });
        assert_eq!(text(&edge.get("/a").await), (200, "a", "Hit"));
    }
}

#[tokio::test]
async fn what_forbids_stale_answers_is_heeded() {
    for directive in ["must-revalidate", "proxy-revalidate", "s-maxage=10", "stale-if-error=0"] {
        let (edge, script) = edge("", "").await;
        script.then(200, &[&format!("Cache-Control: max-age=10, {directive}")], "old");
        edge.get("/a").await;
        pass_seconds(&edge, 11);
        script.then(500, &[], "sorry");
        assert_eq!(text(&edge.get("/a").await), (500, "sorry", "Error"), "{directive}");
    }
}

#[tokio::test]
async fn a_stored_error_gives_way_to_the_next_one() {
    let (edge, script) = edge("", "").await;
    script.then(500, &[], "the first").then(500, &[], "the second").then(200, &[FRESH], "content");
    assert_eq!(edge.get("/a").await.content, "the first");
    assert_eq!(edge.get("/a").await.content, "the first", "it is stored");
    pass_seconds(&edge, 11);
    assert_eq!(edge.get("/a").await.content, "the second");
    pass_seconds(&edge, 11);
    assert_eq!(edge.get("/a").await.content, "content");
}

#[tokio::test]
async fn errors_are_remembered_for_the_minimum_ttl_of_their_code() {
    let (edge, script) =
        edge("", "error_caching_min_ttl = { default = \"10s\", 404 = \"60s\" }").await;
    script.then(404, &[], "no").then(500, &[], "sorry").then(400, &[], "what");
    for (path, status) in [("/404", 404), ("/500", 500), ("/400", 400)] {
        assert_eq!(edge.get(path).await.status, status);
    }
    assert_eq!(script.requests(), 3);
    pass_seconds(&edge, 9);
    script.then(200, &[FRESH], "a 400 is not stored");
    for (path, status) in [("/404", 404), ("/500", 500), ("/400", 200)] {
        assert_eq!(edge.get(path).await.status, status, "{path}");
    }
    pass_seconds(&edge, 2);
    script.then(200, &[FRESH], "recovered");
    assert_eq!(edge.get("/500").await.status, 200);
    assert_eq!(edge.get("/404").await.status, 404);
    // a purge removes it
    edge.purge(&["/404"]).await;
    script.then(200, &[FRESH], "there it is");
    assert_eq!(edge.get("/404").await.status, 200);
}

#[tokio::test]
async fn a_targeted_field_stands_for_cache_control() {
    let (edge, script) = edge("", "").await;
    let fields = ["CDN-Cache-Control: max-age=100", "Cache-Control: no-store", "ETag: \"1\""];
    script.then(200, &fields, "a");
    assert_eq!(text(&edge.get("/a").await), (200, "a", "Miss"));
    let hit = edge.get("/a").await;
    assert_eq!(text(&hit), (200, "a", "Hit"));
    assert_eq!(hit.field("cache-control"), "no-store");
    let own = ["Forebay-Cache-Control: no-store", "CDN-Cache-Control: max-age=100"];
    script.then(200, &own, "b").then(200, &own, "c");
    assert_eq!(text(&edge.get("/b").await), (200, "b", "Miss"));
    assert_eq!(text(&edge.get("/b").await), (200, "c", "Miss"));
}

#[tokio::test]
async fn fields_for_one_viewer_are_not_stored() {
    let (edge, script) = edge("", "").await;
    let fields = ["Cache-Control: max-age=60, private=\"set-cookie\"", "Set-Cookie: session=1"];
    script.then(200, &fields, "a");
    let first = edge.get("/a").await;
    assert_eq!((text(&first), first.field("set-cookie")), ((200, "a", "Miss"), "session=1"));
    let second = edge.get("/a").await;
    assert_eq!((text(&second), second.field("set-cookie")), ((200, "a", "Hit"), ""));
}

#[tokio::test]
async fn answers_to_authorized_requests_are_shared_only_where_they_say_so() {
    let (edge, script) = edge("", "").await;
    script.then(200, &[FRESH], "mine").then(200, &["Cache-Control: public, max-age=60"], "ours");
    let authorized = || edge.viewer().field("authorization", "Bearer 1");
    let mine = authorized().get("/mine").await;
    assert_eq!(text(&mine), (200, "mine", "Miss"));
    assert!(mine.field("cache-status").ends_with("detail=authorization"), "{mine:?}");
    assert_eq!(script.last()["authorization"], "Bearer 1");
    assert_eq!(text(&authorized().get("/ours").await), (200, "ours", "Miss"));
    script.then(200, &[FRESH], "another's");
    assert_eq!(text(&edge.get("/mine").await), (200, "another's", "Miss"));
    assert_eq!(text(&edge.get("/ours").await), (200, "ours", "Hit"));
}

#[tokio::test]
async fn a_successful_unsafe_request_invalidates_what_it_names() {
    let (edge, script) = edge("", "").await;
    let paths = ["/folder/own", "/folder/made", "/folder/here", "/elsewhere"];
    for path in paths {
        script.then(200, &[FRESH], "old");
        edge.get(path).await;
    }
    script.then(500, &["Location: /elsewhere"], "failed");
    assert_eq!(edge.viewer().send("POST", "/folder/own", "x").await.status, 500);
    for path in paths {
        assert_eq!(edge.get(path).await.x_cache(), "Hit", "{path}");
    }
    let fields = ["Location: http://media.example.com/folder/made", "Content-Location: here"];
    script.then(201, &fields, "done");
    assert_eq!(edge.viewer().send("M-SEARCH", "/folder/own", "x").await.status, 201);
    for (path, expected) in paths.into_iter().zip(["Miss", "Miss", "Miss", "Hit"]) {
        script.then(200, &[FRESH], "new");
        assert_eq!(edge.get(path).await.x_cache(), expected, "{path}");
    }
    let far = ["Location: http://other.example.com/elsewhere"];
    script.then(200, &far, "left over").then(201, &far, "done");
    edge.viewer().send("POST", "/x", "x").await;
    assert_eq!(edge.get("/elsewhere").await.x_cache(), "Hit");
}

#[tokio::test]
async fn hop_by_hop_fields_go_neither_way() {
    let (edge, script) = edge("", "").await;
    let fields = [FRESH, "Connection: x-own-hop", "X-Own-Hop: 1", "Keep-Alive: 5", "X-Kept: 2"];
    script.then(200, &fields, "a");
    let viewer = edge.viewer().field("connection", "x-hop").field("x-hop", "1").field("te", "x");
    let answer = viewer.field("keep-alive", "9").field("x-end", "2").get("/a").await;
    let shown = ["x-own-hop", "keep-alive", "x-kept"].map(|name| answer.field(name).to_owned());
    assert_eq!(shown, ["", "", "2"]);
    let seen = script.last();
    for name in ["x-hop", "te", "keep-alive"] {
        assert!(!seen.contains_key(name), "{name}");
    }
    assert_eq!(seen["x-end"], "2");
}

#[tokio::test]
async fn a_304_renews_all_that_does_not_describe_the_stored_bytes() {
    let (edge, script) = edge("", "").await;
    let old = ["Cache-Control: max-age=5", "ETag: \"1\"", "X-Note: old", "Content-Encoding: x-one"];
    script.then(200, &old, "a");
    edge.get("/a").await;
    pass_seconds(&edge, 6);
    let new = [FRESH, "ETag: \"1\"", "X-Note: new", "Content-Encoding: x-two"];
    script.then(304, &new, "");
    let renewed = edge.get("/a").await;
    assert_eq!(text(&renewed), (200, "a", "RefreshHit"));
    let shown = ["x-note", "content-encoding"].map(|name| renewed.field(name).to_owned());
    assert_eq!(shown, ["new", "x-one"]);
    pass_seconds(&edge, 30);
    assert_eq!(text(&edge.get("/a").await), (200, "a", "Hit"));
}

#[tokio::test]
async fn a_field_that_connection_names_is_neither_sent_nor_in_the_key() {
    let (edge, script) = edge("headers = [\"X-Tenant\"]", "").await;
    script.then(200, &[FRESH], "of nobody").then(200, &[FRESH], "of a");
    let tenant = || edge.viewer().field("x-tenant", "a");
    assert_eq!(text(&tenant().field("connection", "x-tenant").get("/a").await).1, "of nobody");
    assert!(!script.last().contains_key("x-tenant"));
    assert_eq!(text(&tenant().get("/a").await), (200, "of a", "Miss"));
    assert_eq!(text(&edge.get("/a").await), (200, "of nobody", "Hit"));
}

#[tokio::test]
async fn a_stale_error_of_one_variant_leaves_the_others_alone() {
    let (edge, script) = edge("", "").await;
    let ask = |language| edge.viewer().field("accept-language", language).get("/a");
    script.then(200, &[FRESH, "Vary: Accept-Language"], "en").then(404, &[], "no such language");
    assert_eq!(text(&ask("en").await), (200, "en", "Miss"));
    assert_eq!(ask("xx").await.status, 404);
    pass_seconds(&edge, 11);
    script.then(503, &[], "trouble");
    assert_eq!(ask("xx").await.status, 404);
    assert_eq!(text(&ask("en").await), (200, "en", "Hit"));
}

#[tokio::test]
async fn an_error_of_one_viewer_leaves_the_last_copy() {
    let (edge, script) = edge("", "").await;
    script.then(200, &["Cache-Control: max-age=5", "ETag: \"1\""], "copy");
    edge.get("/a").await;
    pass_seconds(&edge, 6);
    script.then(401, &[], "who are you?").then(304, &[FRESH], "");
    assert_eq!(edge.get("/a").await.status, 401);
    assert_eq!(text(&edge.get("/a").await), (200, "copy", "RefreshHit"));
}

#[tokio::test]
async fn an_error_of_one_variant_leaves_the_others_alone() {
    let (edge, script) = edge("", "").await;
    let ask = |language| edge.viewer().field("accept-language", language).get("/a");
    script.then(200, &[FRESH, "Vary: Accept-Language"], "en").then(404, &[], "no such language");
    assert_eq!(text(&ask("en").await), (200, "en", "Miss"));
    assert_eq!(ask("junk").await.status, 404);
    assert_eq!(text(&ask("en").await), (200, "en", "Hit"));
    // the result is cached for identical requests
    assert_eq!(ask("junk").await.status, 404);
    assert_eq!(script.requests(), 2);
}

#[tokio::test]
async fn one_viewers_authorization_does_not_turn_caching_off() {
    let (edge, script) = edge("", "").await;
    script.then(200, &[FRESH], "mine").then(200, &[FRESH], "ours");
    assert_eq!(edge.viewer().field("authorization", "x").get("/a").await.content, "mine");
    assert_eq!(text(&edge.get("/a").await), (200, "ours", "Miss"));
    assert_eq!(text(&edge.get("/a").await), (200, "ours", "Hit"));
}

#[tokio::test]
async fn all_who_wait_for_a_failing_origin_get_the_last_copy() {
    let (edge, script) = edge("", "error_caching_min_ttl = 0").await;
    script.then(200, &["Cache-Control: max-age=10"], "old");
    edge.get("/a").await;
    pass_seconds(&edge, 11);
    for _ in 0..8 {
        script.then(503, &[], "sorry");
    }
    let answers = futures_util::future::join_all((0..4).map(|_| edge.get("/a"))).await;
    for answer in &answers {
        assert_eq!(text(answer), (200, "old", "Hit"));
    }
}

#[tokio::test]
async fn fields_of_the_viewer_stand_once_in_origin_requests() {
    let (edge, script) = edge("", "").await;
    script.then(200, &[], "done");
    let viewer = edge.viewer().field("content-type", "text/plain").field("user-agent", "own/1");
    viewer.field("if-match", "\"1\"").send("PUT", "/a", "x").await;
    let seen = script.last();
    for (name, value) in
        [("content-type", "text/plain"), ("user-agent", "own/1"), ("if-match", "\"1\"")]
    {
        let lines: Vec<_> = seen.get_all(name).iter().collect();
        assert_eq!(lines, [value], "{name}");
    }
}

#[tokio::test]
async fn a_304_about_another_version_does_not_give_up_the_last_copy() {
    let (edge, script) = edge("", "").await;
    script.then(200, &["Cache-Control: max-age=10", "ETag: \"1\""], "old");
    edge.get("/a").await;
    pass_seconds(&edge, 11);
    script.then(304, &["ETag: \"2\"", FRESH], "").then(304, &["ETag: \"2\"", FRESH], "");
    assert_eq!(text(&edge.get("/a").await), (200, "old", "Hit"));
}

#[tokio::test]
async fn a_304_that_forbids_storing_answers_and_is_not_stored() {
    let (edge, script) = edge("", "").await;
    script.then(200, &["Cache-Control: max-age=5", "ETag: \"1\""], "a");
    edge.get("/a").await;
    pass_seconds(&edge, 6);
    script.then(304, &["Cache-Control: no-store", "ETag: \"1\""], "").then(200, &[FRESH], "b");
    let renewed = edge.get("/a").await;
    assert_eq!(text(&renewed), (200, "a", "RefreshHit"));
    assert_eq!(
        renewed.field("cache-status"),
        "Forebay; fwd=stale; fwd-status=304; ttl=-1; detail=no-store"
    );
    assert_eq!(text(&edge.get("/a").await), (200, "b", "Miss"));
}
