//! The disk cache while the origin is unreachable, and what `explain` says of it.

use super::{config, explain, folder, purge, restarted};
use crate::support::{bucket::Bucket, edge::Edge};

const DAYS: std::time::Duration = std::time::Duration::from_secs(200_000);

fn written_bytes(metrics: &str) -> &str {
    let line = metrics.lines().find(|line| line.starts_with("forebay_disk_written_bytes_total "));
    line.expect("the counter")
}

/// The record of a stale copy stays as it is, and is found after another restart.
#[tokio::test]
async fn a_stale_copy_outlives_an_outage_without_being_written_again() {
    let (bucket, folder) = (Bucket::start().await, folder());
    bucket.put("a.png", "content");
    let edge = Edge::with(&config(&bucket, folder.path()));
    edge.get("/a.png").await;
    let edge = restarted(edge, &bucket, folder.path()).await;
    edge.clock.advance(DAYS);
    bucket.fail_with(Some(s3s::S3ErrorCode::ServiceUnavailable));
    let before = edge.metrics().await;
    for _ in 0..3 {
        assert_eq!(edge.get("/a.png").await.content, "content");
        edge.clock.advance(DAYS);
    }
    edge.running().edge.store().flush_disk().await;
    assert_eq!(written_bytes(&edge.metrics().await), written_bytes(&before));
    let edge = restarted(edge, &bucket, folder.path()).await;
    edge.clock.advance(DAYS);
    assert_eq!(edge.get("/a.png").await.content, "content");
}

#[tokio::test]
async fn explain_reads_the_disk_to_say_what_comes_next() {
    let (bucket, folder) = (Bucket::start().await, folder());
    bucket.put_with("stale.png", "content", Some("max-age=10"));
    bucket.put("purged.png", "content");
    let edge = Edge::with(&config(&bucket, folder.path()));
    for path in ["/stale.png", "/purged.png"] {
        edge.get(path).await;
    }
    purge(&edge, "/purged.png", false).await;
    let edge = restarted(edge, &bucket, folder.path()).await;
    let purged = explain(&edge, "/purged.png").await;
    assert!(purged.contains(r#""next":{"result":"Miss","why":"it was purged"#), "{purged}");
    edge.clock.advance(std::time::Duration::from_secs(60));
    let stale = explain(&edge, "/stale.png").await;
    assert!(stale.contains(r#""next":{"result":"RefreshHit","why":"it is stale"#), "{stale}");
    let answer = edge.get("/stale.png").await;
    assert_eq!(answer.x_cache(), "RefreshHit", "{answer:?}");
    assert_eq!(edge.get("/purged.png").await.x_cache(), "Miss");
}
