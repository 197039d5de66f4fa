//! Rules that want a user name and a password.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    bucket::Bucket,
    edge::{Edge, Lines, config_for},
    script::Script,
    viewer::{Answer, Viewer},
};

/// Of "open sesame", made by `htpasswd -nbB -C 4`.
const HASH: &str = "$2y$04$0iFEvCgTLMzm.vLj2R85teYY8cHCR78CCXdaLWhg43ClnyxWBKLHG";

const RULE: &str = "[[distribution.default_behavior.rule]]\n";

fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

async fn get(edge: &Edge, path: &str, pair: &str) -> Answer {
    edge.viewer().field("authorization", &basic(pair)).get(path).await
}

async fn with_rule(conditions: &str) -> (Bucket, Edge) {
    let bucket = Bucket::start().await;
    let users = format!("users = {{ anna = \"{HASH}\", bob = \"{HASH}\" }}");
    let rule = format!(
        "{RULE}{conditions}\nbasic_auth = {{ realm = 'the \"preview\"', {users} }}\n\
        set_response_headers = {{ X-Rule = \"yes\" }}\n"
    );
    let edge = Edge::with(&format!("{}\n{rule}", config_for(bucket.address, "", "")));
    bucket.put("private/a", "content");
    bucket.put("private/index.html", "index");
    bucket.put("a", "open");
    (bucket, edge)
}

#[tokio::test]
async fn only_users_get_an_object_and_it_is_stored_for_all_of_them() {
    let (bucket, edge) = with_rule("path = \"/private/*\"").await;
    let asked = edge.get("/private/a").await;
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED);
    let challenge = r#"Basic realm="the \"preview\"", charset="UTF-8""#;
    assert_eq!(asked.field("www-authenticate"), challenge);
    assert_eq!((asked.field("cache-control"), asked.field("x-rule")), ("no-store", "yes"));
    for pair in ["anna:open", "eve:open sesame", ":", "anna", ""] {
        assert_eq!(get(&edge, "/private/a", pair).await.status, StatusCode::UNAUTHORIZED, "{pair}");
    }
    assert_eq!(bucket.gets().len(), 0);
    let answer = get(&edge, "/private/a", "anna:open sesame").await;
    assert_eq!((answer.content.as_ref(), answer.x_cache()), (&b"content"[..], "Miss"));
    assert_eq!(answer.field("x-rule"), "");
    for pair in ["bob:open sesame", "anna:open sesame"] {
        assert_eq!(get(&edge, "/private/a", pair).await.x_cache(), "Hit", "{pair}");
    }
    assert_eq!(edge.get("/private/a").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(&edge, "/private/a", "anna:open").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(edge.get("/a").await.content, "open");
    assert_eq!(bucket.gets().len(), 2);
}

#[tokio::test]
async fn a_known_password_takes_the_fast_path() {
    let (_bucket, edge) = with_rule("").await;
    get(&edge, "/a", "anna:open sesame").await;
    let before = edge.running().edge.steps().admissions.get();
    for _ in 0..3 {
        assert_eq!(get(&edge, "/a", "anna:open sesame").await.x_cache(), "Hit");
    }
    assert_eq!(edge.running().edge.steps().admissions.get() - before, 3);
}

#[tokio::test]
async fn a_first_password_counts_once_against_a_rate_limit() {
    let bucket = Bucket::start().await;
    let limit = "rate_limit.total = { requests = 2, per = \"1h\" }";
    let rule = format!("{RULE}basic_auth = {{ users = {{ anna = \"{HASH}\" }} }}\n");
    let edge = Edge::with(&format!("{}\n{rule}", config_for(bucket.address, "", limit)));
    bucket.put("a", "content");
    for expected in [200, 200, 429] {
        assert_eq!(get(&edge, "/a", "anna:open sesame").await.status, expected);
    }
}

#[tokio::test]
async fn no_spelling_and_no_index_document_avoids_a_password() {
    let bucket = Bucket::start().await;
    let rule = format!(
        "{RULE}path = \"/private/*\"\nbasic_auth = {{ users = {{ anna = \"{HASH}\" }} }}\n\
        {RULE}path = \"/folder/index.html\"\nbasic_auth = {{ users = {{ anna = \"{HASH}\" }} }}\n\
        {RULE}path = \"/open/*\"\nrewrite = \"/team/{{1}}\"\n\
        {RULE}path = \"/inner/*\"\nrewrite = \"/{{1}}\"\n\
        [[distribution.behavior]]\npath_pattern = \"/team/*\"\norigin = \"bucket\"\n\
        cache_policy = \"CachingOptimized\"\n\
        [[distribution.behavior.rule]]\nbasic_auth = {{ users = {{ anna = \"{HASH}\" }} }}\n"
    );
    let site = "index_document = \"index.html\"";
    let edge = Edge::with(&format!("{}\n{rule}", config_for(bucket.address, "", site)));
    for key in ["private/a", "/private/a", "folder/index.html", "team/a"] {
        bucket.put(key, "content");
    }
    for path in ["/private/a", "//private/a", "/private%2Fa", "/%5Cprivate/a", "/x/../private/a"] {
        let answer = edge.get(path).await;
        let is_refused = answer.status.is_client_error() && answer.content != "content";
        assert!(is_refused, "{path}: {answer:?}");
    }
    assert_eq!(edge.get("/folder/").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(&edge, "/folder/", "anna:open sesame").await.content, "content");
    assert_eq!(edge.get("/open/a").await.status, StatusCode::FORBIDDEN);
    // A rewrite within the behavior.
    for path in
        ["/inner/private/a", "/inner//private/a", "/inner/folder/", "/inner/folder/index.html"]
    {
        let answer = edge.get(path).await;
        assert!(
            answer.status.is_client_error() && answer.content != "content",
            "{path}: {answer:?}"
        );
    }
    assert_eq!(edge.get("/inner/private/a").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(&edge, "/inner/private/a", "anna:open sesame").await.content, "content");
    assert_eq!(edge.get("/team/a").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(&edge, "/team/a", "anna:open sesame").await.content, "content");
}

#[tokio::test]
async fn a_plain_origin_does_not_get_the_password() {
    let script = Script::start().await;
    script.answer_when(|_| (200, "content"));
    let rule = format!("{RULE}basic_auth = {{ users = {{ anna = \"{HASH}\" }} }}\n");
    let behavior = "origin_request_policy = \"AllViewer\"";
    let edge = Edge::before_script(&script, &Lines { more: &rule, behavior, ..Lines::default() });
    assert_eq!(get(&edge, "/a", "anna:open sesame").await.content, "content");
    assert_eq!(script.last().get("authorization"), None);
    let post = edge.viewer().field("authorization", &basic("anna:open sesame"));
    assert_eq!(post.send("HEAD", "/a", "").await.x_cache(), "Hit");
}

#[tokio::test]
async fn two_rules_may_want_the_same_password() {
    let bucket = Bucket::start().await;
    let other = bcrypt::hash("open sesame", 4).expect("a hash");
    let rules = format!(
        "{RULE}basic_auth = {{ users = {{ anna = \"{HASH}\" }} }}\n\
        {RULE}path = \"/two/*\"\nbasic_auth = {{ users = {{ anna = \"{other}\" }} }}\n"
    );
    let edge = Edge::with(&format!("{}\n{rules}", config_for(bucket.address, "", "")));
    bucket.put("two/a", "content");
    assert_eq!(get(&edge, "/two/a", "anna:open sesame").await.content, "content");
}

#[tokio::test]
async fn a_file_of_users_is_read_again() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("users.htpasswd");
    std::fs::write(&file, format!("# team\nanna:{HASH}\n")).expect("written");
    let rule = format!("{RULE}basic_auth = {{ users_file = \"{}\" }}\n", file.display());
    let bucket = Bucket::start().await;
    bucket.put("a", "content");
    let text = format!("{}\n{rule}", config_for(bucket.address, "", ""));
    let edge = Edge::with(&text);
    let status = async |pair| get(&edge, "/a", pair).await.status.as_u16();
    assert_eq!(status("anna:open sesame").await, 200);
    let compile = || forebay::config::Config::compile("t", &text, std::path::Path::new(""));
    let reload = || edge.running().reload(compile().expect("valid"));
    std::fs::write(&file, format!("bob:{HASH}\n")).expect("written");
    reload().expect("reloaded");
    assert_eq!((status("anna:open sesame").await, status("bob:open sesame").await), (401, 200));
    for (content, reason) in [
        ("bob\n", "line 1: expected a user name, a colon and a bcrypt hash"),
        ("\nbob:$apr1$a$b\n", "line 2: user `bob`: it is not a bcrypt hash"),
        ("", "it has no users"),
    ] {
        std::fs::write(&file, content).expect("written");
        let error = reload().expect_err(content);
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let error = format!("{error}: {}", source.unwrap_or_default());
        assert!(error.contains(reason) && error.contains("users.htpasswd"), "{error}");
    }
    assert_eq!(status("bob:open sesame").await, 200, "the old users stay");
}

#[tokio::test]
async fn explain_verifies_passwords() {
    let (_bucket, edge) = with_rule("path = \"/private/*\"").await;
    let explain = async |fields: Value| {
        let admin = Viewer::new(edge.running().admin_address.expect("admin"));
        let request = json!({ "url": "http://a/private/a", "fields": fields }).to_string();
        let admin = admin.field("content-type", "application/json");
        let answer = admin.send("POST", "/explain", request).await;
        serde_json::from_slice::<Value>(&answer.content).expect("JSON")
    };
    let refused = explain(json!([])).await;
    assert_eq!(refused["refused"]["status"], 401);
    let rule = "rule 1 (path /private/*) requires a user name and a password";
    assert_eq!(refused["rules"], json!([rule]));
    let wrong = explain(json!([["authorization", basic("anna:x")]])).await;
    let why = "a rule requires a user name and a password, and those of the request are wrong";
    assert_eq!(wrong["refused"]["why"], why);
    let right = explain(json!([["authorization", basic("anna:open sesame")]])).await;
    assert_eq!(right["refused"], Value::Null);
}

#[test]
fn mistakes_are_reported() {
    let check = |rules: &str| {
        let address = ([127, 0, 0, 1], 1).into();
        let text = format!("{}\n{rules}", config_for(address, "", ""));
        let compiled = forebay::config::Config::compile("t", &text, std::path::Path::new(""));
        format!("{:?}", compiled.expect_err("faults"))
    };
    for (rules, expected) in [
        (format!("{RULE}basic_auth = {{}}\n"), "`basic_auth` has no users"),
        (
            format!("{RULE}basic_auth = {{ users = {{ a = \"secret\" }} }}\n"),
            "user `a`: it is not a bcrypt hash",
        ),
        (
            format!("{RULE}basic_auth = {{ users = {{ \"a:b\" = \"{HASH}\" }} }}\n"),
            "must not be empty or have a colon",
        ),
        (
            format!("{RULE}basic_auth = {{ users_file = \"u\", users = {{ a = \"{HASH}\" }} }}\n"),
            "either `users_file` or `users`",
        ),
        (
            format!("{RULE}basic_auth = {{ users_file = \"u\", realm = \"a\\nb\" }}\n"),
            "`realm` has characters that are not allowed",
        ),
        (
            format!(
                "{RULE}directory_index = \"index.html\"\n{RULE}basic_auth = {{ users_file = \"u\" }}\n"
            ),
            "a rule with `basic_auth` comes after one with `directory_index`",
        ),
    ] {
        let faults = check(&rules);
        assert!(faults.contains(expected), "{expected}: {faults}");
    }
}
