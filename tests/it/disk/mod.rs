//! The disk cache, from outside: restarts, purges, damage.

mod encryption;
mod outages;

use std::{fs, path::Path, process::Command};

use http::StatusCode;
use tempfile::TempDir;

use crate::support::{
    bucket::Bucket,
    edge::{Edge, config_for},
    viewer::{Answer, Viewer, pattern},
};

fn folder() -> TempDir {
    tempfile::tempdir().expect("folder")
}

fn config(bucket: &Bucket, folder: &Path) -> String {
    let cache = format!(
        "memory = \"32MiB\"\nslice = \"64KiB\"\n[cache.disk]\npath = \"{}\"\ncapacity = \"128MiB\"",
        folder.display()
    );
    config_for(bucket.address, &cache, "") + "compress = true\n"
}

/// An edge with a disk cache in `folder`.
fn edge(bucket: &Bucket, folder: &Path) -> Edge {
    Edge::with(&config(bucket, folder))
}

/// Starts again with the same folder, once the index is read.
async fn restarted(edge: Edge, bucket: &Bucket, folder: &Path) -> Edge {
    let mut edge = edge;
    assert!(edge.running.take().expect("running").stop().await);
    drop(edge);
    started(bucket, folder).await
}

async fn started(bucket: &Bucket, folder: &Path) -> Edge {
    let edge = edge(bucket, folder);
    edge.metrics_have("forebay_disk_segments_to_recover 0").await;
    edge
}

/// What a process that is killed now would leave.
async fn killed(edge: &Edge, folder: &Path) -> TempDir {
    edge.running().edge.store().flush_disk().await;
    let copy = self::folder();
    for entry in fs::read_dir(folder).expect("folder") {
        let entry = entry.expect("entry");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    copy
}

async fn purge(edge: &Edge, path: &str, soft: bool) {
    let purge = format!(r#"{{"distribution": "media", "paths": ["{path}"], "soft": {soft}}}"#);
    let admin = Viewer::new(edge.running().admin_address.expect("admin"));
    let purged =
        admin.field("content-type", "application/json").send("POST", "/purge", purge).await;
    assert_eq!(purged.status, StatusCode::OK, "{purged:?}");
}

async fn explain(edge: &Edge, path: &str) -> String {
    let question = format!(r#"{{"url": "http://{}{path}"}}"#, edge.address);
    let admin = Viewer::new(edge.running().admin_address.expect("admin"));
    let explained =
        admin.field("content-type", "application/json").send("POST", "/explain", question);
    String::from_utf8_lossy(&explained.await.content).into_owned()
}

fn is_from_disk(answer: &Answer) -> bool {
    answer.x_cache() == "Hit" && answer.field("cache-status").contains("detail=disk")
}

#[tokio::test]
async fn what_was_stored_is_a_hit_after_a_restart() {
    let (bucket, folder) = (Bucket::start().await, folder());
    bucket.put("small.png", "small");
    bucket.put("large.bin", pattern(300_000));
    let edge = edge(&bucket, folder.path());
    for path in ["/small.png", "/large.bin", "/missing.png"] {
        edge.get(path).await;
    }
    let asked = bucket.gets().len();
    let edge = restarted(edge, &bucket, folder.path()).await;
    let explained = explain(&edge, "/small.png").await;
    assert!(explained.contains(r#""in_memory":"disk""#), "{explained}");
    assert!(explained.contains(r#""next":{"result":"Hit""#), "{explained}");
    let small = edge.get("/small.png").await;
    assert!(is_from_disk(&small), "{small:?}");
    assert_eq!(small.content, "small");
    let large = edge.get("/large.bin").await;
    assert!(is_from_disk(&large), "{large:?}");
    assert_eq!(large.content, pattern(300_000));
    assert_eq!(edge.get("/missing.png").await.status, StatusCode::NOT_FOUND);
    assert_eq!(bucket.gets().len(), asked, "nothing was asked again");
    let again = edge.get("/small.png").await;
    assert!(again.x_cache() == "Hit" && !is_from_disk(&again), "it is in memory now: {again:?}");
}

#[tokio::test]
async fn compressed_forms_and_variants_outlive_a_restart() {
    let (bucket, folder) = (Bucket::start().await, folder());
    bucket.put("text.css", "body { color: red } ".repeat(200));
    let edge = edge(&bucket, folder.path());
    let gzip = |edge: &Edge| edge.viewer().field("accept-encoding", "gzip").get("/text.css");
    let before = gzip(&edge).await;
    assert_eq!(before.field("content-encoding"), "gzip");
    edge.metrics_have("forebay_compressed_total{coding=\"gzip\"} 1").await;
    let edge = restarted(edge, &bucket, folder.path()).await;
    let after = gzip(&edge).await;
    assert_eq!((after.field("content-encoding"), &after.content), ("gzip", &before.content));
    let compressed = edge.metrics().await.contains("forebay_compressed_total");
    assert!(!compressed, "it was read, not made again");
}

#[tokio::test]
async fn a_purge_outlives_a_kill() {
    let (bucket, folder) = (Bucket::start().await, folder());
    let paths = ["/kept.png", "/exact.png", "/below/1.png", "/below/2.png"];
    for path in paths {
        bucket.put(&path[1..], "old");
    }
    let edge = edge(&bucket, folder.path());
    for path in paths {
        edge.get(path).await;
    }
    assert_eq!(edge.purge(&["/exact.png", "/below/*"]).await.status, StatusCode::OK);
    let copy = killed(&edge, folder.path()).await;
    for path in paths {
        bucket.put(&path[1..], "new");
    }
    let after = started(&bucket, copy.path()).await;
    for (path, expected) in paths.iter().zip(["old", "new", "new", "new"]) {
        assert_eq!(after.get(path).await.content, expected, "{path}");
    }
    // Everything was stored again, under the purges of the last process.
    let after = restarted(after, &bucket, copy.path()).await;
    for path in paths {
        assert!(is_from_disk(&after.get(path).await), "{path}");
    }
}

#[tokio::test]
async fn a_soft_purge_outlives_a_kill_and_leads_to_a_validation() {
    let (bucket, folder) = (Bucket::start().await, folder());
    bucket.put("a.png", "content");
    let edge = edge(&bucket, folder.path());
    edge.get("/a.png").await;
    purge(&edge, "/a.png", true).await;
    let copy = killed(&edge, folder.path()).await;
    let after = started(&bucket, copy.path()).await;
    let answer = after.get("/a.png").await;
    assert_eq!((answer.x_cache(), &answer.content[..]), ("RefreshHit", &b"content"[..]));
}

/// What is read from disk takes as much memory as it is accounted for.
#[tokio::test]
async fn many_small_objects_are_read_while_the_memory_is_full() {
    let (bucket, folder) = (Bucket::start().await, folder());
    let edge = edge(&bucket, folder.path());
    let paths: Vec<String> = (0..3_000).map(|number| format!("/{number}.png")).collect();
    for path in &paths {
        bucket.put(&path[1..], pattern(16 << 10));
        edge.get(path).await;
    }
    let requests = bucket.gets().len();
    let edge = restarted(edge, &bucket, folder.path()).await;
    // From the second time on, content is where it is sent from.
    for _ in 0..3 {
        for path in &paths {
            let answer = edge.get(path).await;
            assert!(is_from_disk(&answer), "{path}: {answer:?}");
        }
    }
    assert_eq!(bucket.gets().len(), requests);
    let metrics = edge.metrics().await;
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<u64>().ok()).expect("a number")
    };
    let (bytes, entries) = (value("forebay_cache_bytes "), value("forebay_cache_entries "));
    assert_eq!(bytes, entries * (16 << 10), "only the content counts");
}

#[tokio::test]
async fn a_renewed_response_that_a_viewer_invalidated_is_not_written() {
    for is_invalidated in [false, true] {
        let (bucket, folder) = (Bucket::start().await, folder());
        bucket.put("a.png", "old");
        let edge = edge(&bucket, folder.path());
        edge.get("/a.png").await;
        let store = edge.running().edge.store();
        store.flush_disk().await;
        purge(&edge, "/a.png", true).await;
        assert_eq!(edge.get("/a.png").await.x_cache(), "RefreshHit");
        if is_invalidated {
            store.invalidate("media", "/a.png");
        }
        store.close_disk(std::time::Duration::from_secs(5));
        let found = forebay::cache::disk::count(folder.path(), |_, _| {}).expect("a cache");
        assert_eq!((found.responses, found.obsolete), (1, u64::from(!is_invalidated)));
    }
}

#[tokio::test]
async fn a_renewed_response_is_written_when_it_leaves_the_memory() {
    let (bucket, folder) = (Bucket::start().await, folder());
    bucket.put("evicted.png", "small");
    bucket.put("evicted.bin", pattern(300_000));
    bucket.put("drained.png", "small");
    let edge = edge(&bucket, folder.path());
    let paths = ["/evicted.png", "/evicted.bin", "/drained.png"];
    for path in paths {
        edge.get(path).await;
    }
    edge.running().edge.store().flush_disk().await;
    purge(&edge, "/*", true).await;
    for path in &paths[..2] {
        assert_eq!(edge.get(path).await.x_cache(), "RefreshHit", "{path}");
    }
    for index in 0..40 {
        bucket.put(&format!("{index}.bin"), pattern(1_000_000));
        edge.get(&format!("/{index}.bin")).await;
    }
    assert_eq!(edge.get(paths[2]).await.x_cache(), "RefreshHit");
    let requests = bucket.gets().len();
    let edge = restarted(edge, &bucket, folder.path()).await;
    for path in paths {
        assert!(is_from_disk(&edge.get(path).await), "{path}");
    }
    assert_eq!(bucket.gets().len(), requests, "nothing was validated again");
}

/// Whatever is damaged, viewers get right bytes.
#[tokio::test]
async fn damage_is_a_miss() {
    let (bucket, folder) = (Bucket::start().await, folder());
    for n in 0..20 {
        bucket.put(&format!("{n}.bin"), pattern(3_000 * (n + 1)));
    }
    bucket.put("large.bin", pattern(300_000));
    let paths: Vec<String> =
        (0..20).map(|n| format!("/{n}.bin")).chain(["/large.bin".into()]).collect();
    let edge = edge(&bucket, folder.path());
    for path in &paths {
        edge.get(path).await;
    }
    let copy = killed(&edge, folder.path()).await;
    let segment = |folder: &Path| {
        let entries =
            fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
        let mut segments = entries.filter(|path| path.to_string_lossy().contains("seg-"));
        segments.next().expect("a segment")
    };
    // Every 4,000th byte of what is written.
    let path = segment(copy.path());
    let mut bytes = fs::read(&path).expect("read");
    for at in (9_000..900_000).step_by(4_000) {
        bytes[at] ^= 0x10;
    }
    fs::write(&path, bytes).expect("written");
    all_are_right(&started(&bucket, copy.path()).await, &paths).await;
    // Cut off.
    let copy = killed(&edge, folder.path()).await;
    let cut = fs::OpenOptions::new().write(true).open(segment(copy.path())).expect("opened");
    cut.set_len(200 << 10).expect("cut");
    all_are_right(&started(&bucket, copy.path()).await, &paths).await;
}

async fn all_are_right(edge: &Edge, paths: &[String]) {
    for (n, path) in paths.iter().enumerate() {
        let length = if n < 20 { 3_000 * (n + 1) } else { 300_000 };
        assert!(edge.get(path).await.content == pattern(length), "{path}");
    }
}

#[tokio::test]
async fn a_log_of_purges_that_cannot_be_trusted_empties_the_cache() {
    let (bucket, folder) = (Bucket::start().await, folder());
    bucket.put("a.png", "old");
    let edge = edge(&bucket, folder.path());
    edge.get("/a.png").await;
    for _ in 0..3 {
        edge.purge(&["/a.png"]).await;
    }
    bucket.put("a.png", "new");
    let damage: [fn(&Path); 3] = [
        |log| fs::remove_file(log).expect("removed"),
        |log| {
            let mut bytes = fs::read(log).expect("read");
            bytes[60] ^= 1;
            fs::write(log, bytes).expect("written");
        },
        |log| fs::write(log, "").expect("written"),
    ];
    for damage in damage {
        let copy = killed(&edge, folder.path()).await;
        damage(&copy.path().join("purge.log"));
        let after = started(&bucket, copy.path()).await;
        let answer = after.get("/a.png").await;
        assert_eq!((answer.x_cache(), &answer.content[..]), ("Miss", &b"new"[..]));
    }
}

#[tokio::test]
async fn a_version_known_to_be_gone_does_not_come_back() {
    let (bucket, folder) = (Bucket::start().await, folder());
    bucket.put("a.png", "old");
    let honors = "[[cache_policy]]\nname = \"own\"\nhonor_request_directives = true\n";
    let text = config(&bucket, folder.path()).replace("\"CachingOptimized\"", "\"own\"") + honors;
    let edge = Edge::with(&text);
    edge.get("/a.png").await;
    bucket.put_with("a.png", "new", Some("no-store"));
    let validated = edge.viewer().field("cache-control", "no-cache").get("/a.png").await;
    assert_eq!(validated.content, "new", "it must not be stored");
    let copy = killed(&edge, folder.path()).await;
    let after = started(&bucket, copy.path()).await;
    assert_eq!(after.get("/a.png").await.content, "new");
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let (bucket, folder) = (Bucket::start().await, folder());
    let edge = edge(&bucket, folder.path());
    let options = forebay::cache::disk::DiskOptions::new(folder.path().to_owned(), 128 << 20);
    let second = forebay::cache::store::Store::on_disk(
        forebay::cache::store::Options::default(),
        options,
        edge.clock.clone(),
        forebay::base::metrics::DiskMetrics::default(),
    );
    let error = second.expect_err("in use").to_string();
    assert!(error.contains("another process uses"), "{error}");
}

fn cache(words: &[&str], folder: &Path) -> (bool, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["cache"])
        .args(words)
        .arg("--dir")
        .arg(folder)
        .output()
        .expect("run");
    let text = [command.stdout, command.stderr].concat();
    (command.status.success(), String::from_utf8(text).expect("text"))
}

#[tokio::test]
async fn the_command_line_counts_verifies_and_clears() {
    let (bucket, folder) = (Bucket::start().await, folder());
    bucket.put("small.png", "small");
    bucket.put("large.bin", pattern(300_000));
    let edge = edge(&bucket, folder.path());
    edge.get("/small.png").await;
    edge.get("/large.bin").await;
    edge.running().edge.store().flush_disk().await;
    for words in [&["stat"], &["verify"]] {
        let (is_good, text) = cache(words, folder.path());
        assert!(is_good, "{text}");
        for line in ["files        1, 32.0 MiB", "responses    2", "slices       5"] {
            assert!(text.contains(line), "{text}");
        }
    }
    let (is_good, text) = cache(&["clear"], folder.path());
    assert!(!is_good && text.contains("another process uses"), "{text}");
    let copy = killed(&edge, folder.path()).await;
    let segment = copy.path().join("seg-000000000000");
    let mut bytes = fs::read(&segment).expect("read");
    bytes[100_000] ^= 1;
    fs::write(&segment, bytes).expect("written");
    let (is_good, text) = cache(&["verify"], copy.path());
    assert!(!is_good && text.contains("damaged      1"), "{text}");
    assert!(cache(&["clear"], copy.path()).0);
    assert!(cache(&["stat"], copy.path()).1.contains("responses    0"));
    let (is_good, text) = cache(&["stat"], &copy.path().join("none"));
    assert!(!is_good && text.contains("there is no directory"), "{text}");
}
