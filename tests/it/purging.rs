//! Purges: effective at once, even against fills in flight.

use http::StatusCode;

use crate::support::{
    bucket::Bucket,
    edge::Edge,
    viewer::{Viewer, read},
};

#[tokio::test]
async fn purges_take_paths_prefixes_and_everything() {
    let bucket = Bucket::start().await;
    let edge = Edge::before(&bucket);
    let paths = ["/a/1.png", "/a/2.png", "/b/1.png", "/b/two%20words.png"];
    for key in ["a/1.png", "a/2.png", "b/1.png", "b/two words.png"] {
        bucket.put(key, "old");
    }
    for (purge, gone) in [
        (&["/a/1.png"][..], &[true, false, false, false]),
        (&["/a/*"], &[true, true, false, false]),
        (&["/b/two words.png", "/a/2.png?x=1"], &[false, true, false, true]),
        (&["/*"], &[true, true, true, true]),
        (&["/c/*"], &[false, false, false, false]),
    ] {
        for path in paths {
            edge.get(path).await;
        }
        assert_eq!(edge.purge(purge).await.status, StatusCode::OK);
        for (path, gone) in paths.iter().zip(gone) {
            let expected = if *gone { "Miss" } else { "Hit" };
            assert_eq!(edge.get(path).await.x_cache(), expected, "{purge:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_fill_that_began_before_a_purge_is_never_served_after_it() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "old");
    bucket.gate(0);
    let edge = Edge::before(&bucket);
    let before = tokio::spawn(edge.viewer().get("/a.png"));
    bucket.asked(1).await;
    edge.purge(&["/a.png"]).await;
    bucket.put("a.png", "new");
    let after = tokio::spawn(edge.viewer().get("/a.png"));
    bucket.asked(2).await;
    bucket.gate(usize::MAX);
    assert_eq!(before.await.expect("before").content, "old");
    assert_eq!(after.await.expect("after").content, "new");
    let later = edge.get("/a.png").await;
    assert_eq!((&later.content[..], later.x_cache()), (&b"new"[..], "Hit"));
}

#[tokio::test]
async fn a_transfer_under_way_ends_with_what_it_began() {
    let bucket = Bucket::start().await;
    let content = crate::support::viewer::pattern(300_000);
    bucket.put("a.bin", content.clone());
    bucket.gate(100_000);
    let edge = Edge::before(&bucket);
    let response = edge.viewer().begin("GET", "/a.bin", "").await;
    edge.purge(&["/*"]).await;
    bucket.gate(usize::MAX);
    assert_eq!(read(response).await.content, content);
    assert_eq!(edge.get("/a.bin").await.x_cache(), "Miss");
}

#[tokio::test]
async fn purges_that_make_no_sense_are_refused_with_a_reason() {
    let bucket = Bucket::start().await;
    let edge = Edge::before(&bucket);
    let admin = edge.running().admin_address.expect("admin");
    let post = |body: &'static str| {
        Viewer::new(admin).field("content-type", "application/json").send("POST", "/purge", body)
    };
    for (body, status, word) in [
        ("{", 400, "invalid purge request"),
        ("{\"distribution\": \"media\", \"paths\": []}", 400, "1 to 3000"),
        ("{\"distribution\": \"media\", \"paths\": [\"a\"]}", 400, "`a`"),
        ("{\"distribution\": \"media\", \"path\": \"/a\"}", 400, "unknown field"),
        ("{\"distribution\": \"media\", \"paths\": [\"#a\"]}", 400, "cache_tag_header"),
        ("{\"distribution\": \"other\", \"paths\": [\"/a\"]}", 404, "use one of: media"),
    ] {
        let answer = post(body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        let text = String::from_utf8_lossy(&answer.content).into_owned();
        assert!(text.contains(word), "{text}");
    }
    let form = Viewer::new(admin).field("content-type", "text/plain").send("POST", "/purge", "{}");
    assert_eq!(form.await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(edge.admin("/purge").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(edge.admin("/nothing").await.status, StatusCode::NOT_FOUND);
}
