//! Rules of behaviors: redirects, rewrites, refusals, and changes of header fields.

use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    bucket::Bucket,
    edge::{Edge, Lines, config_for},
    script::Script,
    viewer::{Answer, Viewer},
};

const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEA49EmvVPS5742rWsUnXEyZkGSzUL
JsDudZ1TbHM10XdT13wmmBL0HfxS4jTiAyZe47ONLOCwyU9kr6bBtgzOeg==
-----END PUBLIC KEY-----
";

/// An edge in front of a bucket, with rules for its default behavior.
async fn with_rules(rules: &str) -> (Bucket, Edge) {
    let bucket = Bucket::start().await;
    let edge = Edge::with(&format!("{}\n{rules}", config_for(bucket.address, "", "")));
    (bucket, edge)
}

fn location(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.field("location"))
}

async fn explain(edge: &Edge, url: &str) -> Value {
    let admin = Viewer::new(edge.running().admin_address.expect("admin"));
    let admin = admin.field("content-type", "application/json");
    let answer = admin.send("POST", "/explain", json!({ "url": url }).to_string()).await;
    serde_json::from_slice(&answer.content).expect("JSON")
}

#[tokio::test]
async fn redirects() {
    let (bucket, edge) = with_rules(
        r#"
[[distribution.default_behavior.rule]]
host = "www.example.com"
redirect = "https://example.com{path}"
status = 301
[[distribution.default_behavior.rule]]
path_regex = "^/blog/(?<year>[0-9]{4})/(?<slug>[^/]+)$"
redirect = "/{slug}-{year}?from=blog"
status = 308
[[distribution.default_behavior.rule]]
path = "/old/*"
redirect = "/{1}"
keep_query = false
[[distribution.default_behavior.rule]]
path = "/docs/*"
query = { lang = "de*" }
redirect = "/de{path}#top"
[[distribution.default_behavior.rule]]
path = "/pages/*"
trailing_slash = "add"
[[distribution.default_behavior.rule]]
path = "/files/*"
trailing_slash = "remove"
status = 307
"#,
    )
    .await;
    let www = |path: &'static str| edge.viewer().field("host", "WWW.example.com:80").get(path);
    for (path, expected) in [
        ("/a%20b/c?x=1&y", (301, "https://example.com/a%20b/c?x=1&y")),
        ("//evil.example/a", (301, "https://example.com//evil.example/a")),
        ("/@evil.example", (301, "https://example.com/@evil.example")),
    ] {
        assert_eq!(location(&www(path).await), expected, "{path}");
    }
    for (path, expected) in [
        ("/blog/2026/caf%C3%A9%3F?x=1", (308, "/caf%C3%A9%3F-2026?from=blog")),
        ("/old/a/b?x=1", (302, "/a/b")),
        // No host of the viewer's choice, in any spelling.
        ("/old//evil.example", (302, "/evil.example")),
        ("/old/%2Fevil.example", (302, "/evil.example")),
        ("/old/%5Cevil.example", (302, "/%5Cevil.example")),
        ("/old/%0d%0aSet-Cookie:a", (400, "")),
        ("/docs/a?lang=de-AT", (302, "/de/docs/a?lang=de-AT#top")),
        ("/pages/a?x=1", (302, "/pages/a/?x=1")),
        ("/files/a/", (307, "/files/a")),
    ] {
        assert_eq!(location(&edge.get(path).await), expected, "{path}");
    }
    for path in ["/docs/a?lang=en", "/pages/a.html", "/pages/a/", "/files/a"] {
        assert_eq!(edge.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert!(bucket.gets().iter().all(|got| !got.key.starts_with("old")));
    let answer = www("/a").await;
    assert_eq!(
        (answer.x_cache(), answer.field("cache-status")),
        ("Redirect", "Forebay; detail=rule-redirect")
    );
    let explained = explain(&edge, "http://www.example.com/a").await;
    assert_eq!(explained["rules"], json!(["rule 1 (any path, host www.example.com) redirects"]));
    assert_eq!(explained["next"]["result"], "Redirect");
    assert_eq!(explained["next"]["why"], "a rule redirects with 301 to https://example.com/a");
}

#[tokio::test]
async fn a_rewritten_path_is_the_key_and_goes_to_the_origin() {
    let (bucket, edge) = with_rules(
        r#"
[[distribution.default_behavior.rule]]
path = "/v1/*"
rewrite = "/releases/1/{1}"
[[distribution.default_behavior.rule]]
path = "/site/*"
directory_index = "index.html"
"#,
    )
    .await;
    bucket.put("releases/1/a b.txt", "one");
    bucket.put("site/index.html", "start");
    bucket.put("site/about/index.html", "about");
    bucket.put("site/a.css", "css");
    let first = edge.get("/v1/a%20b.txt?ignored=1").await;
    assert_eq!((&first.content[..], first.x_cache()), (&b"one"[..], "Miss"));
    assert_eq!(edge.get("/v1/a%20b.txt").await.x_cache(), "Hit");
    assert_eq!(edge.get("/releases/1/a%20b.txt").await.x_cache(), "Hit", "the same object");
    for (path, content) in [
        ("/site/", "start"),
        ("/site/about", "about"),
        ("/site/about/", "about"),
        ("/site/a.css", "css"),
    ] {
        assert_eq!(edge.get(path).await.content, content, "{path}");
    }
    // Dot segments are resolved before rules, and captures make none.
    bucket.put("private", "private");
    assert_eq!(edge.get("/v1/../private").await.content, "private");
    let explained = explain(&edge, "http://a/v1/a%20b.txt").await;
    assert_eq!(explained["path"], "/v1/a b.txt");
    assert_eq!(explained["rewritten"], "/releases/1/a b.txt");
    assert_eq!(explained["rules"], json!(["rule 1 (path /v1/*) rewrites the path"]));
    assert_eq!(explained["next"]["result"], "Hit");
    // A purge of the path before the rules also purges the one after them.
    for purged in ["/v1/a%20b.txt", "/releases/1/a%20b.txt", "/releases/*"] {
        assert_eq!(edge.get("/v1/a%20b.txt").await.x_cache(), "Hit");
        assert_eq!(edge.purge(&[purged]).await.status, StatusCode::OK);
        assert_eq!(edge.get("/v1/a%20b.txt").await.x_cache(), "Miss", "{purged}");
    }
    edge.purge(&["/site/about"]).await;
    assert_eq!(edge.get("/site/about/").await.x_cache(), "Miss");
    // A prefix is that of stored paths.
    edge.get("/v1/a%20b.txt").await;
    edge.purge(&["/v1/*"]).await;
    assert_eq!(edge.get("/v1/a%20b.txt").await.x_cache(), "Hit");
    // Parts of a hit, and hits without content.
    let ranged = edge.viewer().field("range", "bytes=1-2").get("/v1/a%20b.txt").await;
    assert_eq!((ranged.status.as_u16(), &ranged.content[..]), (206, &b"ne"[..]));
    assert_eq!(edge.viewer().head("/v1/a%20b.txt").await.x_cache(), "Hit");
}

#[tokio::test]
async fn conditions_select_requests() {
    let script = Script::start().await;
    script.answer_when(|_| (200, "content"));
    let more = r#"
[[distribution.default_behavior.rule]]
method = ["HEAD"]
deny = true
[[distribution.default_behavior.rule]]
header = { User-Agent = "*Bot/*", Accept = "text/?tml" }
deny = true
[[distribution.default_behavior.rule]]
path = "/beta/*"
cookie = { tester = "yes" }
rewrite = "/next{path}"
[[distribution.default_behavior.rule]]
path = "/@*"
rewrite = "/users/{1}"
"#;
    let edge = Edge::before_script(&script, &Lines { more, ..Lines::default() });
    assert_eq!(edge.viewer().head("/a").await.status, StatusCode::FORBIDDEN);
    let with = |name: &str, value: &str| edge.viewer().field(name, value);
    let bot = with("user-agent", "Some Bot/1.0");
    assert_eq!(bot.clone().field("accept", "text/html").get("/a").await.status, 403);
    assert_eq!(bot.field("accept", "image/png").get("/a").await.status, StatusCode::OK);
    for (cookie, target) in [
        ("a=b; tester=yes", "/next/beta/x"),
        ("tester=yes2", "/beta/x"),
        ("xtester=yes", "/beta/x"),
    ] {
        edge.purge(&["/*"]).await;
        assert_eq!(with("cookie", cookie).get("/beta/x").await.status, StatusCode::OK);
        assert_eq!(script.last_target(), target, "{cookie}");
    }
    // What a plain origin distinguishes stays distinguished.
    for (path, target) in [
        ("/@a%2Fb", "/users/a%2Fb"),
        ("/@a/b%3Fc", "/users/a/b%3Fc"),
        ("/@rs:fit(1,2)+a=b;c", "/users/rs:fit(1,2)+a=b;c"),
    ] {
        edge.get(path).await;
        assert_eq!(script.last_target(), target, "{path}");
    }
    let requests = script.requests();
    for path in ["/@a%252Fb", "/@%FF"] {
        assert_eq!(edge.get(path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(script.requests(), requests);
}

#[tokio::test]
async fn header_fields_are_changed_for_each_viewer_and_never_stored() {
    let script = Script::start().await;
    script.answer_when(|_| (200, "content"));
    let more = r#"
[[distribution.default_behavior.rule]]
path = "/a"
set_response_headers = { X-Frame-Options = "DENY", X-Always = "a" }
remove_response_headers = ["Cache-Control"]
[[distribution.default_behavior.rule]]
header = { X-Debug = "1" }
set_response_headers = { X-Debugged = "yes" }
[[distribution.default_behavior.rule]]
header = { X-Tenant = "blue" }
set_request_headers = { X-Color = "blue" }
remove_request_headers = ["X-Secret"]
"#;
    let behavior = "origin_request_policy = \"AllViewer\"";
    let edge = Edge::before_script(&script, &Lines { behavior, more, ..Lines::default() });
    let answer = edge.get("/a").await;
    assert_eq!((answer.field("x-frame-options"), answer.field("cache-control")), ("DENY", ""));
    let hit = edge.viewer().field("x-debug", "1").get("/a").await;
    assert_eq!(
        (hit.x_cache(), hit.field("x-debugged"), hit.field("x-always")),
        ("Hit", "yes", "a")
    );
    assert_eq!(edge.get("/a").await.field("x-debugged"), "", "it is not stored");
    let plain = edge.get("/b").await;
    assert_eq!((plain.field("x-always"), plain.field("cache-control")), ("", "max-age=3600"));
    // What the origin gets is in the key.
    let blue = || edge.viewer().field("x-tenant", "blue").field("x-secret", "s").get("/c");
    assert_eq!((blue().await.x_cache(), blue().await.x_cache()), ("Miss", "Hit"));
    let seen = script.last();
    assert_eq!(
        (seen.get("x-color").map(HeaderValue::as_bytes), seen.get("x-secret")),
        (Some(&b"blue"[..]), None)
    );
    assert_eq!(edge.get("/c").await.x_cache(), "Miss", "another key");
}

#[tokio::test]
async fn a_rewrite_opens_no_protected_path_and_mixes_no_origins() {
    let (one, two) = (Script::start().await, Script::start().await);
    one.answer_when(|_| (200, "one"));
    two.answer_when(|_| (200, "two"));
    let top =
        format!("[[key_group]]\nname = \"k\"\n[key_group.public_keys]\nK1 = \"\"\"\n{KEY}\"\"\"\n");
    let more = format!(
        r#"
[[distribution.default_behavior.rule]]
path = "/open/*"
rewrite = "/{{1}}"
[[distribution.origin]]
id = "two"
url = "http://{}"
[[distribution.behavior]]
path_pattern = "/private/*"
origin = "app"
cache_policy = "CachingOptimized"
trusted_key_groups = ["k"]
[[distribution.behavior]]
path_pattern = "/closed/*"
origin = "app"
cache_policy = "CachingOptimized"
enabled = false
[[distribution.behavior]]
path_pattern = "/two/*"
origin = "two"
cache_policy = "CachingOptimized"
"#,
        two.address
    );
    let lines = Lines { top: &top, more: &more, ..Lines::default() };
    let edge = Edge::before_script(&one, &lines);
    for path in [
        "/open/private/a",
        "/open//private/a",
        "/open/%2Fprivate/a",
        "/open/%5Cprivate/a",
        "/open/x/..%2f..%2fprivate/a",
        "/open/closed/a",
    ] {
        let answer = edge.get(path).await;
        let is_refused = answer.status.is_client_error() && answer.content != "one";
        assert!(is_refused, "{path}: {answer:?}");
    }
    assert_eq!(one.requests(), 0);
    let refused = explain(&edge, "http://a/open/private/a").await;
    assert_eq!(refused["refused"]["reason"], "rule-protected-path");
    // The same path of another behavior may be another object.
    assert_eq!(edge.get("/open/two/a").await.content, "one");
    assert_eq!(edge.get("/two/a").await.content, "two");
    assert_eq!(edge.get("/open/two/a").await.x_cache(), "Hit");
    assert_eq!(edge.purge(&["/two/a"]).await.status, StatusCode::OK);
    assert_eq!(edge.get("/open/two/a").await.x_cache(), "Miss");
    assert_eq!(edge.get("/two/a").await.x_cache(), "Miss");
}

#[tokio::test]
async fn no_spelling_avoids_a_rule() {
    let (bucket, edge) = with_rules(
        r#"
[[distribution.default_behavior.rule]]
path = "/drafts/*"
deny = true
set_response_headers = { X-Denied = "yes" }
[[distribution.default_behavior.rule]]
path_regex = "^/t/([^_]+)_(.+)$"
rewrite = "/tenants/{1}/{2}"
[[distribution.default_behavior.rule]]
path = "/search/*"
redirect = "/find?q={1}"
"#,
    )
    .await;
    for key in ["drafts/a", "/drafts/a", "admin/a", "tenants/one/a"] {
        bucket.put(key, "content");
    }
    for path in ["/drafts/a", "//drafts/a", "/drafts%2Fa", "/%5Cdrafts/a", "/x/../drafts/a"] {
        let answer = edge.get(path).await;
        assert!(
            answer.status.is_client_error() && answer.content != "content",
            "{path}: {answer:?}"
        );
    }
    assert_eq!(edge.get("/drafts/a").await.field("x-denied"), "yes");
    assert_eq!(edge.get("/t/one_a").await.content, "content");
    for path in ["/t/.._admin/a", "/t/._a", "/t/%2e%2e_admin/a"] {
        assert_eq!(edge.get(path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(location(&edge.get("/search/a&b=c").await), (302, "/find?q=a%26b%3Dc"));
    let explained = explain(&edge, "http://a/drafts/a").await;
    assert_eq!(explained["rules"], json!(["rule 1 (path /drafts/*) refuses the request"]));
    assert_eq!(explained["refused"]["reason"], "rule-denied");
}

#[tokio::test]
async fn an_index_document_can_be_denied() {
    let bucket = Bucket::start().await;
    let rules =
        "[[distribution.default_behavior.rule]]\npath = \"/drafts/index.html\"\ndeny = true\n";
    let site = "index_document = \"index.html\"";
    let edge = Edge::with(&format!("{}\n{rules}", config_for(bucket.address, "", site)));
    bucket.put("drafts/index.html", "drafts");
    bucket.put("open/index.html", "open");
    assert_eq!(edge.get("/drafts/").await.status, StatusCode::FORBIDDEN);
    assert_eq!(edge.get("/open/").await.content, "open");
}

#[tokio::test]
async fn a_redirect_that_depends_on_the_viewer_is_not_stored_elsewhere() {
    let (_bucket, edge) = with_rules(
        r#"
[[distribution.default_behavior.rule]]
cookie = { beta = "1" }
redirect = "/beta{path}"
status = 301
[[distribution.default_behavior.rule]]
path = "/old"
redirect = "/new"
status = 301
"#,
    )
    .await;
    let answer = edge.viewer().field("cookie", "beta=1").get("/a").await;
    assert_eq!((location(&answer), answer.field("cache-control")), ((301, "/beta/a"), "no-store"));
    assert_eq!(edge.get("/old").await.field("cache-control"), "");
}

#[tokio::test]
async fn a_change_through_a_rewrite_invalidates_what_is_stored() {
    let script = Script::start().await;
    script.answer_when(|_| (200, "content"));
    let more = r#"
[[distribution.default_behavior.rule]]
path = "/v1/*"
rewrite = "/releases/{1}"
"#;
    let behavior = "allowed_methods = \"all\"";
    let edge = Edge::before_script(&script, &Lines { behavior, more, ..Lines::default() });
    edge.get("/v1/a").await;
    assert_eq!(edge.get("/v1/a").await.x_cache(), "Hit");
    assert_eq!(edge.viewer().send("PUT", "/v1/a", "new").await.status, StatusCode::OK);
    assert_eq!(edge.get("/v1/a").await.x_cache(), "Miss");
}

#[tokio::test]
async fn a_file_has_many_redirects_and_is_read_again() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("redirects.txt");
    let lines = (0..100_000).map(|number| format!("/old/{number}  /new/{number}\n"));
    let list = lines.collect::<String>() + "# moved\n/caf%C3%A9 https://example.com/?a=b 301\n";
    std::fs::write(&file, list).expect("written");
    let rules = format!(
        "[[distribution.default_behavior.rule]]\nredirects_file = \"{}\"\nstatus = 308\n",
        file.display()
    );
    let (bucket, edge) = with_rules(&rules).await;
    assert_eq!(location(&edge.get("/old/99999?x=1").await), (308, "/new/99999?x=1"));
    assert_eq!(location(&edge.get("/%63af%c3%a9?x=1").await), (301, "https://example.com/?a=b"));
    assert_eq!(edge.get("/old/100000").await.status, StatusCode::NOT_FOUND);
    let text = format!("{}\n{rules}", config_for(bucket.address, "", ""));
    let config =
        || forebay::config::Config::compile("t", &text, std::path::Path::new("")).expect("valid");
    std::fs::write(&file, "/old/1 /other/1\n").expect("written");
    edge.running().reload(config()).expect("reloaded");
    assert_eq!(location(&edge.get("/old/1").await), (308, "/other/1"));
    for (content, reason) in [
        ("/a /b\n\n/a /c\n", "line 3: an earlier line has the path `/a`, too"),
        ("/a\n", "line 1: expected a path, a target, and perhaps a status"),
        ("/a b\n", "line 1: `b`: it must begin with `/`"),
        ("/a /b 200\n", "line 1: `200` is not the status of a redirect"),
        ("/a /a\n", "line 1: `/a` redirects to itself"),
        ("/%zz /a\n", "line 1: `/%zz`: "),
        ("/a https://a.example{path}\n", "a target in a file has no places"),
        ("/a //a.example/\n", "a path with one slash"),
    ] {
        std::fs::write(&file, content).expect("written");
        let error = edge.running().reload(config()).expect_err(content);
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let error = format!("{error}: {}", source.unwrap_or_default());
        assert!(error.contains(reason) && error.contains("redirects.txt"), "{error}");
    }
    assert_eq!(location(&edge.get("/old/1").await), (308, "/other/1"), "the old list stays");
}
