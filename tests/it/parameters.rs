//! S3's object parameters: versions and response headers, as far as a policy lists them.

use std::path::Path;

use forebay::config::Config;

use crate::support::{
    bucket::{Bucket, NAME},
    edge::{Edge, config_for},
};

const POLICIES: &str = r#"
[[cache_policy]]
name = "versions"
query_strings = { whitelist = ["v", "versionId", "response-content-disposition"] }
[[cache_policy]]
name = "all"
query_strings = "all"
[[origin_request_policy]]
name = "sends-versions"
query_strings = { whitelist = ["versionId"] }
[[cache_policy]]
name = "parts"
query_strings = { whitelist = ["partNumber", "v"] }
[[origin_request_policy]]
name = "acls"
query_strings = { whitelist = ["acl"] }
"#;

fn config(bucket: std::net::SocketAddr, policies: &str) -> String {
    let text = config_for(bucket, "memory = \"32MiB\"", "");
    let text = text.replace("cache_policy = \"CachingOptimized\"", policies);
    format!("{POLICIES}{text}")
}

async fn versions() -> Bucket {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "newest");
    bucket.put("a.png@1", "first");
    bucket
}

#[tokio::test]
async fn listed_parameters_reach_the_bucket_and_the_key() {
    let bucket = versions().await;
    let edge = Edge::with(&config(bucket.address, "cache_policy = \"versions\""));
    for x_cache in ["Miss", "Hit"] {
        for (query, content, disposition) in [
            ("", "newest", ""),
            ("?versionId=1", "first", ""),
            ("?v=7", "newest", ""),
            (
                "?response-content-disposition=attachment;+filename%3D%22%C3%A9+%2B.png%22",
                "newest",
                "attachment; filename=\"\u{e9} +.png\"",
            ),
            ("?versionId=1&response-content-disposition=inline", "first", "inline"),
        ] {
            let answer = edge.get(&format!("/a.png{query}")).await;
            assert_eq!(
                (&answer.content[..], answer.x_cache()),
                (content.as_bytes(), x_cache),
                "{query}"
            );
            let value =
                answer.fields.get("content-disposition").map(|value| value.as_bytes().to_vec());
            assert_eq!(value.unwrap_or_default(), disposition.as_bytes(), "{query}");
        }
    }
    assert_eq!(bucket.gets().len(), 5);
    // Unlisted parameters are neither forwarded nor in the key.
    for query in ["?versionID=1", "?response-content-type=text/html", "?acl", "?X-Amz-Signature=1"]
    {
        let answer = edge.get(&format!("/a.png{query}")).await;
        assert_eq!((&answer.content[..], answer.x_cache()), (&b"newest"[..], "Hit"), "{query}");
        assert_eq!(answer.field("content-type"), "image/png");
    }
    assert_eq!(bucket.gets().len(), 5);
    // A purge of the path covers all of them.
    edge.purge(&["/a.png"]).await;
    assert_eq!(edge.get("/a.png?versionId=1").await.x_cache(), "Miss");
}

#[tokio::test]
async fn versions_that_are_missing_or_invalid_are_answers_not_faults() {
    let bucket = versions().await;
    let edge = Edge::with(&config(bucket.address, "cache_policy = \"versions\""));
    for (version, status) in [("2", 404), ("invalid", 400)] {
        for answer in [
            edge.get(&format!("/a.png?versionId={version}")).await,
            edge.viewer().head(&format!("/a.png?versionId={version}")).await,
        ] {
            assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        }
    }
    let text = edge.metrics().await;
    assert!(text.contains("class=\"origin-configuration\"} 0\n"), "{text}");
}

/// A viewer chooses versions and response headers only if the operator lists them.
#[tokio::test]
async fn a_policy_with_all_query_strings_sends_none() {
    let bucket = versions().await;
    let edge = Edge::with(&config(bucket.address, "cache_policy = \"all\""));
    for query in ["?versionId=1", "?response-content-disposition=attachment"] {
        let answer = edge.get(&format!("/a.png{query}")).await;
        assert_eq!((&answer.content[..], answer.x_cache()), (&b"newest"[..], "Miss"));
        assert_eq!(answer.field("content-disposition"), "");
    }
}

#[tokio::test]
async fn what_an_origin_request_policy_lists_is_in_the_key_too() {
    let bucket = versions().await;
    let policies =
        "cache_policy = \"CachingOptimized\"\norigin_request_policy = \"sends-versions\"";
    let edge = Edge::with(&config(bucket.address, policies));
    for (path, content) in
        [("/a.png", "newest"), ("/a.png?versionId=1", "first"), ("/a.png", "newest")]
    {
        assert_eq!(edge.get(path).await.content, content);
    }
}

#[test]
fn parameters_of_other_requests_are_configuration_errors() {
    let bucket = ([127, 0, 0, 1], 9000).into();
    for (policies, name) in [
        ("cache_policy = \"parts\"", "partNumber"),
        ("cache_policy = \"CachingOptimized\"\norigin_request_policy = \"acls\"", "acl"),
    ] {
        let text = config(bucket, policies);
        let faults = Config::compile("test.toml", &text, Path::new("")).expect_err("a fault");
        let shown = format!("{:?}", miette::Report::new(faults));
        assert!(shown.contains(&format!("`{name}`")) && shown.contains("versionId"), "{shown}");
        let plain =
            text.replace(&format!("bucket = \"{NAME}\"\nregion = \"us-east-1\"\nendpoint"), "url");
        Config::compile("test.toml", &plain, Path::new("")).expect("a plain origin may get it");
    }
}
