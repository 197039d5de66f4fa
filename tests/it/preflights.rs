//! CORS preflights that a bucket answers.

use crate::support::{
    edge::{Edge, config_for},
    script::Script,
    viewer::Answer,
};

const ALLOWED: [&str; 4] = [
    "access-control-allow-origin: https://shop.example.com",
    "access-control-allow-methods: GET",
    "access-control-max-age: 3000",
    "vary: Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
];

fn before(script: &Script, behavior: &str) -> Edge {
    let text = config_for(script.address, "memory = \"32MiB\"", "");
    let policy = "cache_policy = \"CachingOptimized\"";
    Edge::with(&text.replace(policy, &format!("{policy}\n{behavior}")))
}

async fn preflight(edge: &Edge, origin: &str) -> Answer {
    let viewer = edge.viewer().field("origin", origin).field("cookie", "a=b");
    let viewer = viewer.field("access-control-request-method", "GET");
    viewer.field("access-control-request-headers", "range").send("OPTIONS", "/a.png", "").await
}

#[tokio::test]
async fn a_bucket_answers_preflights() {
    let script = Script::start().await;
    let edge = before(&script, "allowed_methods = [\"GET\", \"HEAD\", \"OPTIONS\"]");
    for requests in 1..3 {
        script.then(200, &ALLOWED, "");
        let answer = preflight(&edge, "https://shop.example.com").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("access-control-allow-origin"), "https://shop.example.com");
        assert_eq!(answer.field("access-control-max-age"), "3000");
        assert_eq!(script.requests(), requests, "it is not stored unless the behavior says so");
    }
    let sent = script.last();
    assert_eq!(
        (&sent["origin"], &sent["access-control-request-headers"]),
        (&"https://shop.example.com".parse().expect("value"), &"range".parse().expect("value"))
    );
    assert!(!sent.contains_key("authorization") && !sent.contains_key("cookie"), "{sent:?}");
    // The bucket's CORS rules do not allow it: that does not count as a failure of the bucket.
    script.then(403, &[], "<Error><Code>AccessForbidden</Code></Error>");
    let answer = preflight(&edge, "https://other.example.com").await;
    assert_eq!(answer.status, 403);
    assert!(!answer.content.starts_with(b"<Error>"), "{answer:?}");
}

#[tokio::test]
async fn preflights_are_stored_by_origin_method_and_fields() {
    let script = Script::start().await;
    let methods = "[\"GET\", \"HEAD\", \"OPTIONS\"]";
    let edge = before(&script, &format!("allowed_methods = {methods}\ncached_methods = {methods}"));
    script.then(200, &ALLOWED, "");
    for x_cache in ["Miss", "Hit"] {
        let answer = preflight(&edge, "https://shop.example.com").await;
        assert_eq!((answer.status.as_u16(), answer.x_cache()), (200, x_cache));
        assert_eq!(answer.field("access-control-allow-methods"), "GET");
    }
    script.then(403, &[], "<Error><Code>AccessForbidden</Code></Error>");
    assert_eq!(preflight(&edge, "https://other.example.com").await.status, 403);
    // A GET with the same headers has its own entry.
    script.then(200, &[], "image");
    let viewer = edge.viewer().field("origin", "https://shop.example.com");
    let viewer = viewer.field("access-control-request-method", "GET");
    assert_eq!(viewer.get("/a.png").await.content, "image");
    assert_eq!(preflight(&edge, "https://shop.example.com").await.x_cache(), "Hit");
    assert_eq!(script.requests(), 3);
    edge.purge(&["/a.png"]).await;
    script.then(200, &ALLOWED, "");
    assert_eq!(preflight(&edge, "https://shop.example.com").await.x_cache(), "Miss");
}

#[tokio::test]
async fn without_options_a_preflight_is_refused() {
    let script = Script::start().await;
    let edge = before(&script, "");
    assert_eq!(preflight(&edge, "https://shop.example.com").await.status, 405);
    assert_eq!(script.requests(), 0);
}
