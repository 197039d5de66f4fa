//! Staging: a second configuration that serves a part of the requests.

use std::net::SocketAddr;

use http::{StatusCode, header};
use serde_json::json;

use crate::support::{
    edge::{Edge, compile},
    script::Script,
    viewer::{Answer, Viewer},
};

fn config(origin: SocketAddr, top: &str) -> String {
    format!(
        r#"
{top}
[listen]
http = "127.0.0.1:0"
workers = 2
[admin]
listen = "127.0.0.1:0"
[access_log]
format = "off"
[[cache_policy]]
name = "with-cookies"
default_ttl = "1day"
cookies = "all"
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "app"
url = "http://{origin}"
[distribution.default_behavior]
origin = "app"
cache_policy = "with-cookies"
origin_request_policy = "AllViewer"
"#
    )
}

const HEADER: &str = "[staging]\nfile = \"staging.toml\"\nheader = { aws-cf-cd-test = \"yes\" }\n";

/// Two scripts, and an edge that serves by the second one what `staging` selects.
async fn two(staging: &str) -> (Script, Script, Edge) {
    let (primary, staged) = (Script::start().await, Script::start().await);
    primary.answer_when(|_| (200, "primary"));
    staged.answer_when(|_| (200, "staging"));
    let edge = Edge::staged(&config(primary.address, staging), &config(staged.address, ""));
    (primary, staged, edge)
}

async fn staged(edge: &Edge, path: &str) -> Answer {
    edge.viewer().field("aws-cf-cd-test", "yes").get(path).await
}

#[tokio::test]
async fn a_header_field_selects_it_and_nothing_is_shared() {
    let (primary, second, edge) = two(HEADER).await;
    for (expected, _) in [("Miss", 1), ("Hit", 2)] {
        let (one, two) = (edge.get("/a").await, staged(&edge, "/a").await);
        assert_eq!((one.x_cache(), two.x_cache()), (expected, expected));
        assert_eq!(
            (one.content.as_ref(), two.content.as_ref()),
            (&b"primary"[..], &b"staging"[..])
        );
    }
    assert_eq!((primary.requests(), second.requests()), (1, 1));
    assert_eq!(second.last().get("aws-cf-cd-test"), None);
    let other = edge.viewer().field("aws-cf-cd-test", "no").get("/a").await;
    assert_eq!((other.content.as_ref(), other.x_cache()), (&b"primary"[..], "Hit"));
    edge.metrics_have(
        r#"forebay_requests_total{distribution="media-staging",result="Hit",status="2xx"} 1"#,
    )
    .await;
    edge.metrics_have("forebay_staging_active 1").await;
}

#[tokio::test]
async fn purges_reach_both_sides() {
    let (_, _, edge) = two(HEADER).await;
    let both = async |expected: &str| {
        let (one, two) = (edge.get("/a").await, staged(&edge, "/a").await);
        assert_eq!((one.x_cache(), two.x_cache()), (expected, expected));
    };
    both("Miss").await;
    both("Hit").await;
    assert_eq!(edge.purge(&["/a"]).await.status, StatusCode::OK);
    both("Miss").await;
    let admin = Viewer::new(edge.running().admin_address.expect("admin"));
    let batch = "<InvalidationBatch><Paths><Quantity>1</Quantity><Items><Path>/*</Path></Items></Paths><CallerReference>1</CallerReference></InvalidationBatch>";
    let created = admin.send("POST", "/2020-05-31/distribution/media/invalidation", batch).await;
    assert_eq!(created.status, StatusCode::CREATED);
    both("Miss").await;
    // One side alone, by its own name.
    let admin = Viewer::new(edge.running().admin_address.expect("admin"));
    let request = json!({ "distribution": "media-staging", "paths": ["/a"] }).to_string();
    let admin = admin.field("content-type", "application/json");
    assert_eq!(admin.send("POST", "/purge", request).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn viewers_stay_on_their_side_by_a_cookie() {
    let staging = "[staging]\nfile = \"staging.toml\"\nweight = 0.15\nsession_stickiness = { idle_ttl = \"5m\", maximum_ttl = \"10m\" }\n";
    let (primary, second, edge) = two(staging).await;
    let mut sides = [None, None];
    for _ in 0..400 {
        let answer = edge.get("/a").await;
        let cookie = answer.field("set-cookie").split(';').next().expect("a cookie").to_owned();
        let is_staged = cookie.starts_with("forebay-staging=staging.");
        assert_eq!(answer.content == "staging", is_staged, "{cookie}");
        sides[usize::from(is_staged)] = Some(cookie);
        if sides.iter().all(Option::is_some) {
            break;
        }
    }
    let stored = (primary.requests(), second.requests());
    for (side, expected) in sides.iter().zip(["primary", "staging"]) {
        let cookie = side.as_ref().expect("both sides were drawn");
        for _ in 0..20 {
            let answer = edge.viewer().field("cookie", cookie).get("/a").await;
            assert_eq!((answer.content.as_ref(), answer.x_cache()), (expected.as_bytes(), "Hit"));
            assert_eq!(answer.fields.get(header::SET_COOKIE), None);
        }
        let with_own = format!("{cookie}; own=1");
        let answer = edge.viewer().field("cookie", &with_own).get("/b").await;
        assert_eq!(answer.content, expected);
    }
    // Neither key nor origin has the cookie.
    assert_eq!((primary.requests(), second.requests()), (stored.0 + 1, stored.1 + 1));
    for script in [&primary, &second] {
        assert_eq!(script.last().get("cookie").expect("a cookie"), "own=1");
    }
}

#[tokio::test]
async fn it_can_be_changed_and_removed_by_a_reload() {
    let (primary, second, edge) = two(HEADER).await;
    assert_eq!(staged(&edge, "/a").await.content, "staging");
    edge.running().reload(compile(&config(primary.address, ""))).expect("reloaded");
    assert_eq!(staged(&edge, "/a").await.content, "primary");
    let mut changed = compile(&config(primary.address, &HEADER.replace("yes", "no")));
    changed.stage(compile(&config(second.address, ""))).expect("staged");
    edge.running().reload(changed).expect("reloaded");
    assert_eq!(staged(&edge, "/a").await.content, "primary");
    let other = edge.viewer().field("aws-cf-cd-test", "no").get("/a").await;
    assert_eq!((other.content.as_ref(), other.x_cache()), (&b"staging"[..], "Miss"));
}

#[tokio::test]
async fn what_it_stored_before_it_was_away_is_not_used() {
    let (primary, second, edge) = two(HEADER).await;
    let again = || {
        let mut whole = compile(&config(primary.address, HEADER));
        whole.stage(compile(&config(second.address, ""))).expect("staged");
        whole
    };
    assert_eq!(staged(&edge, "/a").await.x_cache(), "Miss");
    edge.running().reload(again()).expect("reloaded");
    assert_eq!(staged(&edge, "/a").await.x_cache(), "Hit", "the same configuration");
    edge.running().reload(compile(&config(primary.address, ""))).expect("reloaded");
    assert_eq!(edge.purge(&["/a"]).await.status, StatusCode::OK);
    edge.running().reload(again()).expect("reloaded");
    assert_eq!(staged(&edge, "/a").await.x_cache(), "Miss");
}

#[tokio::test]
async fn distributions_that_it_does_not_have_serve_all_their_requests() {
    let (primary, second) = (Script::start().await, Script::start().await);
    primary.answer_when(|_| (200, "primary"));
    second.answer_when(|_| (200, "staging"));
    let own = config(primary.address, HEADER).replace("\"*\"", "\"a.example\"");
    let other = own.split("[[distribution]]").last().expect("a distribution").to_owned();
    let other = other.replace("media", "other").replace("a.example", "b.example");
    // It serves any host, but only of the distribution of its id.
    let mut both = compile(&format!("{own}[[distribution]]{other}"));
    both.stage(compile(&config(second.address, ""))).expect("staged");
    let edge = Edge::of_config(both, forebay::aws::Credentials::new());
    for (host, expected) in [("a.example", "staging"), ("b.example", "primary")] {
        let viewer = edge.viewer().field("host", host).field("aws-cf-cd-test", "yes");
        assert_eq!(viewer.get("/a").await.content, expected, "{host}");
    }
}

#[test]
fn mistakes_are_reported() {
    let address = ([127, 0, 0, 1], 1).into();
    let check = |staging: &str| {
        let text = config(address, &format!("[staging]\n{staging}\n"));
        let compiled = forebay::config::Config::compile("t", &text, std::path::Path::new(""));
        format!("{:?}", compiled.expect_err(staging))
    };
    for (staging, expected) in [
        ("weight = 0.1", "file"),
        ("file = \"a\"", "`staging` selects no requests"),
        ("file = \"a\"\nweight = 0.2", "expected a number from 0 to 0.15"),
        ("file = \"a\"\nheader = { x-test = \"yes\" }", "must begin with `aws-cf-cd-`"),
        (
            "file = \"a\"\nheader = { aws-cf-cd-a = \"b\", aws-cf-cd-c = \"d\" }",
            "must have one field",
        ),
        (
            "file = \"a\"\nweight = 0.1\nsession_stickiness = { idle_ttl = \"1m\" }",
            "`idle_ttl` must be from 5 minutes to 1 hour",
        ),
        (
            "file = \"a\"\nweight = 0.1\nsession_stickiness = { idle_ttl = \"10m\", maximum_ttl = \"5m\" }",
            "`maximum_ttl` is shorter than `idle_ttl`",
        ),
    ] {
        let faults = check(staging);
        assert!(faults.contains(expected), "{expected}: {faults}");
    }
    let mut own = compile(&config(address, HEADER));
    let error = own.stage(compile(&config(address, HEADER))).expect_err("an error");
    assert_eq!(error, "it has a table [staging] itself: remove the table there");
    let both = config(address, HEADER)
        + &config(address, "").split("[[distribution]]").last().map_or_else(String::new, |it| {
            format!(
                "[[distribution]]{}",
                it.replace("\"media\"", "\"media-staging\"").replace("\"*\"", "\"a.example\"")
            )
        });
    let error = compile(&both).stage(compile(&config(address, ""))).expect_err("an error");
    assert!(error.contains("is called `media-staging` in logs and metrics"), "{error}");
}
