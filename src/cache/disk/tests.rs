//! Tests of a small disk cache.

mod full;
mod histories;
mod pausing;

use std::{fs, path::Path};

use super::{
    simulated::{Faults, SimulatedFiles},
    *,
};

/// A record whose body contains its key and version.
fn record(key: u64, version: u64, length: usize) -> Record {
    let mut body = Vec::with_capacity(length + 16);
    body.extend_from_slice(&key.to_le_bytes());
    body.extend_from_slice(&version.to_le_bytes());
    body.resize(length + 16, version.to_le_bytes()[0]);
    Record {
        kind: Kind::Response,
        digest: digest(key),
        key: key.to_le_bytes().into(),
        description: version.to_le_bytes().into(),
        body: body.into(),
    }
}

/// Some keys share a shard and half of their digest.
fn digest(key: u64) -> Digest {
    Digest(key % 3, key)
}

/// The version that a record has, which must be whole.
fn version(key: u64, loaded: &Loaded) -> u64 {
    let version = u64::from_le_bytes(loaded.description[..].try_into().expect("eight bytes"));
    let expected = record(key, version, loaded.body.len() - 16);
    assert_eq!(loaded.body, expected.body, "key {key}");
    version
}

/// Keys of their own, or none.
fn keys(line: Option<&str>) -> EncryptionKeys {
    line.map_or_else(EncryptionKeys::default, |line| {
        let file = tempfile::NamedTempFile::new().expect("file");
        fs::write(file.path(), line).expect("written");
        EncryptionKeys::read(file.path()).expect("keys")
    })
}

const KEY: &str = "a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleSE=";
const OLDER_KEY: &str = "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZCE=";

fn open_on(path: &Path, files: Arc<dyn Files>, keys: EncryptionKeys) -> Arc<Disk> {
    let options = DiskOptions {
        capacity: 1 << 20,
        segment: 128 << 10,
        queue: 256 << 10,
        ..DiskOptions::new(path.to_owned(), 1 << 30)
    };
    let folder = Folder::open(path, keys).expect("folder");
    let nothing = Box::new(|_: &[u8], _: &[u8]| {});
    let (clock, metrics) = (Clock::system(), DiskMetrics::default());
    let all = Box::new(|_: Kind, _: &[u8], _: &[u8]| true);
    Disk::open(folder, files, options, clock, metrics, nothing, all).expect("open")
}

fn open_with(path: &Path, keys: EncryptionKeys) -> Arc<Disk> {
    open_on(path, Arc::new(SystemFiles::new(path)), keys)
}

fn open(path: &Path) -> Arc<Disk> {
    open_with(path, EncryptionKeys::default())
}

async fn recovered(disk: &Disk) {
    while disk.usage().to_recover > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_capacity_is_kept_and_records_in_use_stay() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = open(folder.path());
    let used = 3;
    for key in 0..4000 {
        disk.write(record(key, 1, 2_000));
        disk.write(record(key, 1, 2_000));
        if key % 20 == 0 {
            disk.flush().await;
            let _ = disk.read(digest(used), &used.to_le_bytes()).await;
        }
    }
    disk.flush().await;
    let state = disk.usage();
    assert!(state.bytes <= 1 << 20 && state.entries > 200, "{state:?}");
    assert!(disk.read(digest(used), &used.to_le_bytes()).await.is_some(), "it was read all along");
    assert!(disk.read(digest(4), &4_u64.to_le_bytes()).await.is_none());
    let sizes = fs::read_dir(folder.path()).expect("folder");
    let total: u64 = sizes.map(|entry| entry.expect("entry").metadata().expect("size").len()).sum();
    assert!(total <= (1 << 20) + 4096, "{total}");
}

#[tokio::test]
async fn once_full_a_record_is_written_when_it_is_offered_again() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = open(folder.path());
    let mut key = 0;
    while disk.shared.counters.not_admitted.get() == 0 {
        disk.write(record(key, 1, 10_000));
        disk.flush().await;
        key += 1;
    }
    let offered = key - 1;
    assert!(!disk.has(digest(offered)));
    disk.write(record(offered, 1, 10_000));
    disk.flush().await;
    assert!(disk.has(digest(offered)));
}

#[tokio::test]
async fn a_folder_is_checked_before_it_is_used() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("letter.txt"), "dear").expect("written");
    let error = Folder::open(folder.path(), EncryptionKeys::default()).expect_err("foreign");
    assert!(error.to_string().contains("has a file `letter.txt`"), "{error}");
    fs::remove_file(folder.path().join("letter.txt")).expect("removed");
    let first = Folder::open(folder.path(), EncryptionKeys::default()).expect("empty");
    let error = Folder::open(folder.path(), EncryptionKeys::default()).expect_err("in use");
    assert!(error.to_string().contains("another process"), "{error}");
    let identity = first.identity();
    drop(first);
    let second = Folder::open(folder.path(), EncryptionKeys::default()).expect("again").identity();
    assert_eq!(second, Identity { epoch: identity.epoch + 1, ..identity });
    // Another format, or damage: it starts empty.
    fs::write(folder.path().join("super"), "something").expect("written");
    fs::write(folder.path().join("seg-000000000000"), "old").expect("written");
    let third = Folder::open(folder.path(), EncryptionKeys::default()).expect("cleared").identity();
    assert!(third.tier != identity.tier && third.epoch == 1);
    assert!(!folder.path().join("seg-000000000000").exists());
}

/// Bytes of an equal record of another tier are never taken for this one's.
#[tokio::test]
async fn an_old_segment_that_is_put_back_is_not_read() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = open(folder.path());
    disk.write(record(1, 1, 100));
    disk.close();
    let old = fs::read(folder.path().join("seg-000000000000")).expect("read");
    disk_reopened(folder.path(), |folder| folder.clear().expect("cleared"));
    fs::write(folder.path().join("seg-000000000000"), &old).expect("put back");
    let disk = open(folder.path());
    recovered(&disk).await;
    assert!(disk.read(digest(1), &1_u64.to_le_bytes()).await.is_none());
    assert_eq!(disk.usage().entries, 0);
}

/// Files name the start that made them. If the identity of an earlier start is put back, its numbers would be used again.
#[tokio::test]
async fn segments_newer_than_the_identity_are_not_read() {
    for keys in [EncryptionKeys::default(), keys(Some(KEY))] {
        let folder = tempfile::tempdir().expect("folder");
        written(folder.path(), keys.clone(), 1).await;
        let old = fs::read(folder.path().join("super")).expect("read");
        written(folder.path(), keys.clone(), 2).await;
        fs::write(folder.path().join("super"), &old).expect("put back");
        assert!(found(folder.path(), keys).await.is_empty());
    }
}

/// A file whose process ended takes no more space than what was written.
#[tokio::test]
async fn restarts_do_not_use_up_the_capacity() {
    let folder = tempfile::tempdir().expect("folder");
    for key in 0..40 {
        let disk = open(folder.path());
        recovered(&disk).await;
        disk.write(record(key, 1, 100));
        disk.flush().await;
        if key % 2 == 0 {
            disk.close();
        } else {
            // As a process that was killed leaves it.
            let copy = tempfile::tempdir().expect("folder");
            for name in files::names(folder.path()).expect("names") {
                fs::copy(folder.path().join(&name), copy.path().join(&name)).expect("copied");
            }
            disk.close();
            for name in files::names(copy.path()).expect("names") {
                fs::copy(copy.path().join(&name), folder.path().join(&name)).expect("put back");
            }
        }
    }
    let disk = open(folder.path());
    recovered(&disk).await;
    let usage = disk.usage();
    assert!(usage.entries == 40 && usage.bytes < 40 * 5 * 4096, "{usage:?}");
    for key in 0..40_u64 {
        assert!(disk.read(digest(key), &key.to_le_bytes()).await.is_some(), "{key}");
    }
}

/// Writes a record, and leaves the folder to the next process.
async fn written(path: &Path, keys: EncryptionKeys, key: u64) {
    let disk = open_with(path, keys);
    recovered(&disk).await;
    disk.write(record(key, 1, 300));
    disk.close();
}

/// The records that the next process finds.
async fn found(path: &Path, keys: EncryptionKeys) -> Vec<u64> {
    let disk = open_with(path, keys);
    recovered(&disk).await;
    let mut found = Vec::new();
    for key in 0..4_u64 {
        if disk.read(digest(key), &key.to_le_bytes()).await.is_some() {
            found.push(key);
        }
    }
    found
}

/// The newest key encrypts what is written. A key is needed as long as something encrypted with it is to be read.
#[tokio::test]
async fn keys_can_be_replaced() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    let (old, new) = (keys(Some(OLDER_KEY)), keys(Some(KEY)));
    let both = keys(Some(&format!("{KEY}\n{OLDER_KEY}\n")));
    written(path, old.clone(), 1).await;
    assert_eq!(found(path, old.clone()).await, [1]);
    written(path, both.clone(), 2).await;
    assert_eq!(found(path, both).await, [1, 2]);
    written(path, new.clone(), 3).await;
    assert_eq!(found(path, new).await, [2, 3], "the older key is gone");
    assert!(found(path, old).await.is_empty());
}

/// A folder whose key is missing is emptied, as is one that was not encrypted.
#[tokio::test]
async fn nothing_is_read_without_the_right_key() {
    let (clear, encrypted) = (EncryptionKeys::default(), keys(Some(KEY)));
    for (first, second) in
        [(&encrypted, &keys(Some(OLDER_KEY))), (&encrypted, &clear), (&clear, &encrypted)]
    {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path();
        written(path, first.clone(), 1).await;
        let segment = path.join("seg-000000000000");
        let has_key = |bytes: &[u8]| bytes.windows(300).any(|window| window == [1; 300]);
        assert_eq!(has_key(&fs::read(&segment).expect("read")), !first.encrypt());
        assert!(found(path, second.clone()).await.is_empty(), "{first:?} {second:?}");
        assert!(found(path, first.clone()).await.is_empty(), "it was removed");
    }
}

/// Without the segment whose key is missing, those before it could have records that it replaced.
#[tokio::test]
async fn what_precedes_an_unreadable_segment_is_not_used() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    let both = keys(Some(&format!("{KEY}\n{OLDER_KEY}\n")));
    let (old, new) = (keys(Some(OLDER_KEY)), keys(Some(KEY)));
    written(path, new.clone(), 1).await;
    written(path, keys(Some(&format!("{OLDER_KEY}\n{KEY}\n"))), 2).await;
    written(path, both, 3).await;
    assert_eq!(found(path, new).await, [3]);
    assert!(found(path, old).await.is_empty());
}

/// Changes the file of a segment.
fn changed(path: &Path, sequence: u64, change: impl FnOnce(&mut [u8])) {
    let file = path.join(segment::name(sequence));
    let mut bytes = fs::read(&file).expect("read");
    change(&mut bytes);
    fs::write(file, bytes).expect("written");
}

/// Its records and those that it made invalid are unknown.
#[tokio::test]
async fn a_sealed_segment_with_a_damaged_beginning_takes_older_ones_with_it() {
    let folder = tempfile::tempdir().expect("folder");
    let (path, clear) = (folder.path(), EncryptionKeys::default());
    for key in 0..3 {
        written(path, clear.clone(), key).await;
    }
    changed(path, 1, |bytes| bytes[20] ^= 1);
    assert_eq!(found(path, clear).await, [2]);
    assert!(!path.join(segment::name(0)).exists() && !path.join(segment::name(1)).exists());
}

/// Checksums do not protect against those who can compute them.
#[tokio::test]
async fn a_hostile_list_is_not_used() {
    for (place, number) in [(24, u64::MAX / 2), (24, u64::MAX), (16, u64::MAX), (16, 4097)] {
        let folder = tempfile::tempdir().expect("folder");
        let (path, clear) = (folder.path(), EncryptionKeys::default());
        written(path, clear.clone(), 1).await;
        changed(path, 0, |bytes| {
            let trailer = bytes.len() - 4096;
            let trailer = &mut bytes[trailer..];
            trailer[place..place + 8].copy_from_slice(&number.to_le_bytes());
            let sum = checksum(&trailer[..40]).to_le_bytes();
            trailer[40..48].copy_from_slice(&sum);
        });
        assert_eq!(found(path, clear).await, [1], "it is read without its list");
    }
}

fn disk_reopened(path: &Path, change: impl FnOnce(&mut Folder)) {
    change(&mut Folder::open(path, EncryptionKeys::default()).expect("folder"));
}

/// Keys and bodies of every length arrive as they were written.
#[tokio::test]
async fn records_of_all_lengths_are_read_again() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = open(folder.path());
    let lengths = [0, 1, 63, 64, 4_031, 4_032, 4_096, 8_192, 50_000, 100_000];
    for (key, length) in (0..).zip(lengths) {
        disk.write(record(key, 7, length));
        disk.flush().await;
    }
    // One that fits into no segment is not written.
    disk.write(record(99, 7, 200_000));
    disk.flush().await;
    for (key, length) in (0..).zip(lengths) {
        let read = disk.read(digest(key), &key.to_le_bytes()).await;
        let (loaded, _) = read.expect("there");
        assert_eq!((version(key, &loaded), loaded.body.len()), (7, length + 16));
    }
    assert!(disk.read(digest(99), &99_u64.to_le_bytes()).await.is_none());
    assert!(disk.read(digest(1), b"another").await.is_none(), "the key is compared");
}
