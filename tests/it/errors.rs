//! Errors as viewers see them: custom error pages, built-in pages, index documents of folders.

use http::StatusCode;

use crate::support::{
    bucket::Bucket,
    edge::{Edge, Lines, config_for},
    script::Script,
    viewer::Answer,
};

const FRESH: &str = "Cache-Control: max-age=60";

const PAGES: &str = r#"
[[distribution.custom_error_response]]
error_code = 404
response_page_path = "/errors/404.html"
response_code = 200
error_caching_min_ttl = "1m"
[[distribution.custom_error_response]]
error_code = 403
response_page_path = "/errors/403.html"
"#;

async fn before(more: &str) -> (Edge, Script) {
    let script = Script::start().await;
    let lines = Lines { more, ..Lines::default() };
    (Edge::before_script(&script, &lines), script)
}

fn status_and_text(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), String::from_utf8_lossy(&answer.content).into_owned())
}

#[tokio::test]
async fn a_page_of_the_site_takes_the_place_of_an_error() {
    let (edge, script) = before(PAGES).await;
    script.then(404, &[], "bare").then(200, &[FRESH, "Content-Type: text/html"], "<p>gone</p>");
    for round in 0..3 {
        let answer = edge.get("/missing").await;
        assert_eq!(status_and_text(&answer), (200, "<p>gone</p>".into()), "{round}");
        assert_eq!((answer.x_cache(), answer.field("content-type")), ("Error", "text/html"));
        let head = edge.viewer().head("/missing").await;
        assert_eq!((head.status, head.field("content-length")), (StatusCode::OK, "11"));
    }
    // The error and the page are both cached, each with its own TTL.
    assert_eq!(script.requests(), 2);
    // A request for the page itself is a hit, with its own status.
    let page = edge.get("/errors/404.html").await;
    assert_eq!((page.status, page.x_cache()), (StatusCode::OK, "Hit"));
}

#[tokio::test]
async fn the_errors_own_status_is_kept_unless_another_is_given() {
    let (edge, script) = before(PAGES).await;
    script.then(403, &[FRESH], "bare").then(200, &[FRESH], "not for you");
    for _ in 0..2 {
        assert_eq!(status_and_text(&edge.get("/secret").await), (403, "not for you".into()));
    }
    let part = edge.viewer().field("range", "bytes=0-2").get("/secret").await;
    assert_eq!(
        status_and_text(&part),
        (403, "not for you".into()),
        "a range is of the object, not of the page"
    );
    let current = edge.viewer().field("if-none-match", "*").get("/secret").await;
    assert_eq!(status_and_text(&current), (403, "not for you".into()));
}

#[tokio::test]
async fn a_page_that_cannot_be_had_is_told_of() {
    let (edge, script) = before(PAGES).await;
    script.then(404, &[], "bare").then(503, &["Cache-Control: no-store"], "overloaded");
    assert_eq!(status_and_text(&edge.get("/missing").await), (503, "overloaded".into()));
    // The page itself is missing: Forebay looks for no error page for it.
    script.then(404, &[], "no page either");
    assert_eq!(status_and_text(&edge.get("/missing").await), (404, "no page either".into()));
}

#[tokio::test]
async fn a_folder_is_its_index_document() {
    let bucket = Bucket::start().await;
    for (key, content) in
        [("index.html", "root"), ("docs/index.html", "docs"), ("a/b/index.html", "deep")]
    {
        bucket.put(key, content);
    }
    let extra = "index_document = \"index.html\"";
    let edge = Edge::with(&config_for(bucket.address, "", extra));
    for (path, content) in
        [("/", "root"), ("/docs/", "docs"), ("/a/b/", "deep"), ("/a/b/?x", "deep")]
    {
        assert_eq!(status_and_text(&edge.get(path).await), (200, content.into()), "{path}");
    }
    assert_eq!(edge.get("/docs").await.status, StatusCode::NOT_FOUND);
    let both = format!("{extra}\ndefault_root_object = \"docs/index.html\"");
    let edge = Edge::with(&config_for(bucket.address, "", &both));
    assert_eq!(status_and_text(&edge.get("/").await), (200, "docs".into()));
}

#[tokio::test]
async fn errors_speak_the_viewers_language_from_the_store_too() {
    let bucket = Bucket::start().await;
    let edge = Edge::before(&bucket);
    for (accept, media_type, part) in [
        ("text/html,*/*;q=0.8", "text/html; charset=utf-8", "<h1>404 Not Found</h1>"),
        ("application/json", "application/json", "\"status\":404"),
        ("application/xml", "application/xml", "<Code>NotFound</Code>"),
        ("*/*", "text/plain; charset=utf-8", "There is no such object."),
    ] {
        let answer = edge.viewer().field("accept", accept).get("/missing").await;
        let (status, content) = status_and_text(&answer);
        assert_eq!((status, answer.field("content-type")), (404, media_type));
        assert!(content.contains(part), "{content}");
        assert!(content.contains(answer.field("x-request-id")), "{content}");
        assert_eq!(answer.field("vary"), "Accept");
    }
    assert_eq!(bucket.gets().len(), 1, "one error, four languages");
}
