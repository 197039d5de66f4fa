//! Evictions: how many misses more memory would have avoided.

use crate::support::{
    bucket::Bucket,
    edge::{Edge, config_for},
};

#[tokio::test]
async fn misses_for_what_was_evicted_are_counted() {
    let bucket = Bucket::start().await;
    let config = config_for(bucket.address, "memory = \"2MiB\"\nslice = \"64KiB\"", "");
    let edge = Edge::with(&config);
    for number in 0..60 {
        bucket.put(&number.to_string(), vec![b'x'; 60_000]);
        edge.get(&format!("/{number}")).await;
    }
    // The last is still there, and others were never requested before.
    for path in ["/59", "/none"] {
        edge.get(path).await;
    }
    edge.metrics_have("forebay_cache_evicted_misses_total 0").await;
    assert_eq!(edge.get("/0").await.x_cache(), "Miss");
    edge.metrics_have("forebay_cache_evicted_misses_total 1").await;
    assert_eq!(edge.get("/0").await.x_cache(), "Hit");
    edge.metrics_have("forebay_cache_evicted_misses_total 1").await;
}
