//! Request collapsing: many viewers, one origin request; and disconnects and failures during it.

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::task::JoinSet;

use crate::support::{
    bucket::Bucket,
    edge::{Edge, config_for},
    time::{eventually, settled},
    viewer::{pattern, read},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_viewers_of_a_cold_object_cost_one_fetch() {
    const LENGTH: usize = 20 << 20;
    const VIEWERS: usize = 1000;
    let bucket = Bucket::start().await;
    let content = pattern(LENGTH);
    bucket.put("film.mp4", content.clone());
    bucket.gate(3 << 20);
    let edge = Edge::with(&config_for(bucket.address, "memory = \"64MiB\"", ""));
    let mut viewers = JoinSet::new();
    for _ in 0..VIEWERS {
        let (viewer, content) = (edge.viewer(), content.clone());
        viewers.spawn(async move {
            let mut body = viewer.begin("GET", "/film.mp4", "").await.into_body();
            let mut at = 0;
            while let Some(frame) = body.frame().await {
                let data = frame.expect("no abort").into_data().expect("data");
                assert!(content[at..].starts_with(&data), "at {at}");
                at += data.len();
            }
            at
        });
    }
    // The origin is still sending, and the viewers already have some bytes.
    bucket.asked(1).await;
    eventually(|| edge.running().edge.store().usage().bytes >= 2 << 20).await;
    bucket.gate(usize::MAX);
    while let Some(read) = viewers.join_next().await {
        assert_eq!(read.expect("viewer"), LENGTH);
    }
    let gets = bucket.gets();
    assert_eq!(gets.len(), 1, "{gets:?}");
}

#[tokio::test]
async fn viewers_read_while_the_origin_is_still_sending() {
    let bucket = Bucket::start().await;
    let content = pattern(200_000);
    bucket.put("a.bin", content.clone());
    bucket.gate(10_000);
    let edge = Edge::before(&bucket);
    let mut first = edge.viewer().begin("GET", "/a.bin", "").await.into_body();
    let mut second = edge.viewer().begin("GET", "/a.bin", "").await.into_body();
    for body in [&mut first, &mut second] {
        let data = body.frame().await.expect("frame").expect("data").into_data().expect("data");
        assert_eq!(content[..data.len()], data);
    }
    bucket.gate(usize::MAX);
    for body in [first, second] {
        let rest = body.collect().await.expect("all").to_bytes();
        assert!(content.ends_with(&rest));
    }
    assert_eq!(bucket.gets().len(), 1);
    edge.metrics_have("forebay_collapsed_requests_total{distribution=\"media\"} 1").await;
}

#[tokio::test]
async fn the_first_viewer_may_leave() {
    let bucket = Bucket::start().await;
    let content = pattern(60_000);
    bucket.put("a.bin", content.clone());
    bucket.gate(1000);
    let edge = Edge::before(&bucket);
    let first = edge.viewer().begin("GET", "/a.bin", "").await;
    let second = edge.viewer().begin("GET", "/a.bin", "").await;
    drop(first);
    bucket.gate(usize::MAX);
    assert_eq!(read(second).await.content, content);
    assert_eq!(edge.get("/a.bin").await.x_cache(), "Hit");
    assert_eq!(bucket.gets().len(), 1);
}

#[tokio::test]
async fn the_slice_under_way_completes_when_everybody_leaves() {
    let bucket = Bucket::start().await;
    let content = pattern(200_000);
    bucket.put("a.bin", content.clone());
    bucket.gate(1000);
    let edge = Edge::before(&bucket);
    drop(edge.viewer().begin("GET", "/a.bin", "").await);
    bucket.gate(usize::MAX);
    let mut part = edge.viewer().field("range", "bytes=0-65535").get("/a.bin").await;
    while part.field("cache-status").contains("collapsed") {
        part = edge.viewer().field("range", "bytes=0-65535").get("/a.bin").await;
    }
    assert_eq!((part.x_cache(), &part.content[..]), ("Hit", &content[..65_536]));
    assert_eq!(bucket.gets().len(), 1);
}

#[tokio::test]
async fn a_viewer_who_leaves_before_the_head_changes_nothing() {
    let bucket = Bucket::start().await;
    bucket.put("a.bin", "content");
    bucket.gate(0);
    let edge = Edge::before(&bucket);
    let hasty = tokio::spawn(edge.viewer().get("/a.bin"));
    bucket.asked(1).await;
    let patient = tokio::spawn(edge.viewer().get("/a.bin"));
    hasty.abort();
    bucket.gate(usize::MAX);
    assert_eq!(patient.await.expect("patient").content, "content");
    assert_eq!(bucket.gets().len(), 1);
}

#[tokio::test]
async fn an_origin_that_breaks_off_stores_nothing_partial() {
    let bucket = Bucket::start().await;
    let content = pattern(200_000);
    bucket.put("large.bin", content.clone());
    bucket.put("small.bin", content.slice(..50_000));
    let edge = Edge::before(&bucket);
    for path in ["/large.bin", "/small.bin"] {
        bucket.cut_bodies_after(Some(16_384));
        bucket.gate(8192);
        let mut viewers = JoinSet::new();
        for _ in 0..5 {
            let response = edge.viewer().begin("GET", path, "").await;
            viewers.spawn(read(response));
        }
        bucket.gate(usize::MAX);
        while let Some(answer) = viewers.join_next().await {
            let answer = answer.expect("viewer");
            assert!(answer.aborted && answer.content.len() <= 32_768, "{}", answer.content.len());
        }
        bucket.cut_bodies_after(None);
        let whole = edge.get(path).await;
        assert!(!whole.aborted && content.starts_with(&whole.content), "{path}");
        assert!(whole.content.len() >= 50_000);
    }
}

#[tokio::test]
async fn an_object_that_changes_is_never_spliced() {
    let bucket = Bucket::start().await;
    let old = pattern(300_000);
    let new: bytes::Bytes = old.iter().map(|byte| byte ^ 0xff).collect();
    bucket.put("a.bin", old.clone());
    let edge = Edge::before(&bucket);
    let part = |range: &'static str| edge.viewer().field("range", range).get("/a.bin");
    assert_eq!(part("bytes=0-9").await.content, old[..10]);
    bucket.put("a.bin", new.clone());
    // The stored slice is old and fresh. The next has the new version, so all slices are fetched again.
    assert_eq!(part("bytes=0-9").await.content, old[..10]);
    assert_eq!(part("bytes=100000-100009").await.content, new[100_000..100_010]);
    assert_eq!(edge.get("/a.bin").await.content, new);
}

/// Only the first slice is stored, and the object has changed: a response that began with the old slice would be cut
/// at its end.
#[tokio::test]
async fn an_answer_does_not_begin_with_old_slices_that_cannot_be_continued() {
    let bucket = Bucket::start().await;
    bucket.put("a.bin", pattern(2 << 20));
    let edge = Edge::before(&bucket);
    edge.viewer().field("range", "bytes=0-9").get("/a.bin").await;
    let new = pattern(1 << 20).slice(7..);
    bucket.put("a.bin", new.clone());
    let answer = edge.get("/a.bin").await;
    assert!(!answer.aborted && answer.content == new);
}

#[tokio::test]
async fn an_object_that_changes_under_a_transfer_cuts_it() {
    let bucket = Bucket::start().await;
    let old = pattern(2 << 20);
    bucket.put("a.bin", old.clone());
    let edge = Edge::before(&bucket);
    // The first slice and the eleventh are stored. The transfer must request the slices between and after them.
    for range in ["bytes=0-9", "bytes=655360-655369"] {
        edge.viewer().field("range", range).get("/a.bin").await;
    }
    bucket.gate(16_384);
    let response = edge.viewer().begin("GET", "/a.bin", "").await;
    bucket.asked(3).await;
    let new = pattern(1 << 20).slice(7..);
    bucket.put("a.bin", new.clone());
    bucket.gate(usize::MAX);
    let answer = read(response).await;
    assert!(answer.aborted, "the rest of the old object does not exist");
    assert_eq!(answer.content, old[..11 * 65_536], "bytes of two versions");
    let answer = edge.get("/a.bin").await;
    assert!(!answer.aborted && answer.content == new);
}

/// The bucket may read the object before or after the change: the object arrives whole, or the transfer is cut.
#[tokio::test]
async fn an_object_that_changes_while_it_is_fetched_arrives_unmixed() {
    let bucket = Bucket::start().await;
    let old = pattern(2 << 20);
    bucket.put("a.bin", old.clone());
    let edge = Edge::before(&bucket);
    edge.viewer().field("range", "bytes=0-9").get("/a.bin").await;
    bucket.gate(0);
    let response = edge.viewer().begin("GET", "/a.bin", "").await;
    bucket.asked(2).await;
    bucket.put("a.bin", pattern(1 << 20));
    bucket.gate(usize::MAX);
    let answer = read(response).await;
    assert!(old.starts_with(&answer.content), "bytes of two versions");
    assert_eq!(answer.aborted, answer.content.len() < old.len());
}

#[tokio::test]
async fn unstorable_answers_release_all_waiters() {
    let bucket = Bucket::start().await;
    bucket.put_with("mine.png", "mine", Some("private"));
    bucket.gate(0);
    let edge = Edge::before(&bucket);
    let viewers: Vec<_> = (0..5).map(|_| tokio::spawn(edge.viewer().get("/mine.png"))).collect();
    bucket.asked(5).await;
    bucket.gate(usize::MAX);
    for viewer in viewers {
        assert_eq!(viewer.await.expect("viewer").content, "mine");
    }
    assert_eq!(edge.running().edge.store().usage().bytes, 0);
}

#[tokio::test]
async fn objects_larger_than_the_cache_stream_through() {
    let bucket = Bucket::start().await;
    let content = pattern(8 << 20);
    bucket.put("huge.bin", content.clone());
    let cache = "memory = \"2MiB\"\nslice = \"64KiB\"";
    let edge = Edge::with(&config_for(bucket.address, cache, ""));
    let mut viewers = JoinSet::new();
    for _ in 0..4 {
        viewers.spawn(edge.viewer().get("/huge.bin"));
    }
    let mut most = 0;
    while let Some(answer) = viewers.join_next().await {
        most = most.max(edge.running().edge.store().usage().bytes);
        assert_eq!(answer.expect("viewer").content, content);
    }
    assert!(most <= 2 << 20, "{most} bytes");
}

#[tokio::test]
async fn a_slow_reader_bounds_its_own_read_ahead() {
    let bucket = Bucket::start().await;
    bucket.put("long.bin", pattern(16 << 20));
    let edge = Edge::before(&bucket);
    let mut response = edge.viewer().begin("GET", "/long.bin", "").await;
    response.frame().await.expect("frame").expect("data");
    // The viewer stops reading. Forebay fetches only the bytes that fit the socket buffers, plus read_ahead slices.
    let bytes = || edge.running().edge.store().usage().bytes;
    let fetched = settled(bytes).await;
    assert!(fetched < 12 << 20, "{fetched} bytes are fetched for a reader who stands still");
    assert_eq!(edge.get("/long.bin").await.status, StatusCode::OK);
}
