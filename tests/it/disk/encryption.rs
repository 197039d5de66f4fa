//! The encrypted disk cache.

use std::{fs, path::Path, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use tempfile::NamedTempFile;

use super::{cache, config, folder, is_from_disk, killed};
use crate::support::{bucket::Bucket, edge::Edge, viewer::pattern};

#[tokio::test]
async fn a_missing_key_prevents_the_start() {
    let (bucket, folder) = (Bucket::start().await, folder());
    let line = "[cache.disk]\nencryption_key_file = \"missing.key\"";
    let file = folder.path().join("forebay.toml");
    let path = folder.path().join("cache");
    fs::write(&file, config(&bucket, &path).replace("[cache.disk]", line)).expect("written");
    let wrong = [
        (None, "No such file", "openssl rand -base64 32 >"),
        (Some("c2hvcnQ="), "line 1 of", "correct or remove this line"),
        (Some("# none"), "has no key", "openssl rand -base64 32 >>"),
    ];
    for (key, why, advice) in wrong {
        if let Some(key) = key {
            fs::write(folder.path().join("missing.key"), key).expect("written");
        }
        let serve = ["serve", "--config"];
        let program = Command::new(env!("CARGO_BIN_EXE_forebay")).args(serve).arg(&file).output();
        let program = program.expect("run");
        let text = String::from_utf8_lossy(&program.stderr);
        assert!(!program.status.success() && text.contains(why), "{text}");
        assert!(text.contains(advice), "{text}");
        assert!(!path.exists(), "nothing was created");
    }
}

fn key_file(byte: u8) -> NamedTempFile {
    let file = NamedTempFile::new().expect("file");
    fs::write(file.path(), STANDARD.encode([byte; 32])).expect("written");
    file
}

fn encrypted(bucket: &Bucket, folder: &Path, key: &NamedTempFile) -> Edge {
    let line = format!("[cache.disk]\nencryption_key_file = \"{}\"", key.path().display());
    Edge::with(&config(bucket, folder).replace("[cache.disk]", &line))
}

/// Whether any file in the folder has these bytes.
fn has(folder: &Path, wanted: &[u8]) -> bool {
    fs::read_dir(folder).expect("folder").any(|entry| {
        let bytes = fs::read(entry.expect("entry").path()).expect("read");
        bytes.windows(wanted.len()).any(|window| window == wanted)
    })
}

/// Content, paths, fields and purges cannot be read from the files, and nothing is served with another key.
#[tokio::test]
async fn an_encrypted_cache_is_only_readable_with_its_key() {
    let (bucket, folder) = (Bucket::start().await, folder());
    bucket.put_with("secret-name.txt", "secret content", Some("max-age=4321"));
    bucket.put("large.bin", pattern(300_000));
    let right = key_file(1);
    let edge = encrypted(&bucket, folder.path(), &right);
    edge.get("/secret-name.txt").await;
    edge.get("/large.bin").await;
    edge.purge(&["/secret-purge.txt"]).await;
    let copy = killed(&edge, folder.path()).await;
    for secret in ["secret content", "secret-name", "max-age=4321", "secret-purge"] {
        assert!(!has(copy.path(), secret.as_bytes()), "{secret}");
    }
    assert!(!has(copy.path(), &pattern(300_000)[1000..1032]));
    let keys = right.path().to_str().expect("text");
    let (is_good, text) = cache(&["verify", "--encryption-key-file", keys], copy.path());
    assert!(is_good && text.contains("slices       5"), "{text}");
    let (is_good, text) = cache(&["verify"], copy.path());
    assert!(!is_good && text.contains("is encrypted") && text.contains("--config"), "{text}");
    let (is_good, text) = cache(&["stat"], copy.path());
    assert!(is_good && text.contains("responses    2"), "{text}");
    let before = bucket.gets().len();
    let edge = encrypted(&bucket, copy.path(), &right);
    edge.metrics_have("forebay_disk_segments_to_recover 0").await;
    for (path, expected) in
        [("/secret-name.txt", "secret content".into()), ("/large.bin", pattern(300_000))]
    {
        let answer = edge.get(path).await;
        assert!(is_from_disk(&answer) && answer.content == expected, "{path}");
    }
    assert_eq!(bucket.gets().len(), before);
    let other = killed(&edge, copy.path()).await;
    let edge = encrypted(&bucket, other.path(), &key_file(2));
    assert_eq!(edge.get("/secret-name.txt").await.x_cache(), "Miss");
}
