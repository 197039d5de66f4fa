//! Random histories of a small disk cache, with evictions, kills and damage.

use std::{collections::HashMap, fs, path::Path};

use tempfile::TempDir;

use super::*;

const KEYS: u64 = 24;

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

fn open(path: &Path, budget: Option<u64>) -> Arc<Disk> {
    let options = DiskOptions {
        capacity: 1 << 20,
        segment: 128 << 10,
        queue: 256 << 10,
        write_budget: budget,
        ..DiskOptions::new(path.to_owned(), 1 << 30)
    };
    let folder = Folder::open(path).expect("folder");
    let files = Arc::new(SystemFiles::new(path));
    let nothing = Box::new(|_: &[u8], _: &[u8]| {});
    let (clock, metrics) = (Clock::system(), DiskMetrics::default());
    let all = Box::new(|_: &Loaded| true);
    Disk::open(folder, files, options, clock, metrics, nothing, all).expect("open")
}

async fn recovered(disk: &Disk) {
    while disk.usage().to_recover > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The folder as a kill at this moment would leave it.
fn image(path: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("folder");
    for entry in fs::read_dir(path).expect("folder") {
        let entry = entry.expect("entry");
        // A segment may have been evicted meanwhile.
        let _ = fs::copy(entry.path(), copy.path().join(entry.file_name()));
    }
    copy
}

/// What may be read, by key: `None` means that the record is gone, which is always possible.
#[derive(Default)]
struct Model {
    current: HashMap<u64, Option<u64>>,
    /// What the keys had when everything was last flushed, and since then.
    since_flush: HashMap<u64, Vec<Option<u64>>>,
}

impl Model {
    fn set(&mut self, key: u64, version: Option<u64>) {
        let before = self.current.insert(key, version).flatten();
        self.since_flush.entry(key).or_insert_with(|| vec![before]).push(version);
    }

    fn allows(&self, key: u64, version: u64, was_killed: bool) -> bool {
        let recent = self.since_flush.get(&key).filter(|_| was_killed);
        self.current.get(&key) == Some(&Some(version))
            || recent.is_some_and(|recent| recent.contains(&Some(version)))
    }
}

/// Returns the number of hits.
async fn history(seed: u64) -> u32 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut folder = tempfile::tempdir().expect("folder");
    let mut disk = open(folder.path(), None);
    let (mut model, mut versions, mut hits) = (Model::default(), 0, 0);
    for _ in 0..400 {
        let key = random.u64(..KEYS);
        match random.u32(..100) {
            0..45 => {
                versions += 1;
                let longest = if random.u32(..8) == 0 { 60_000 } else { 5_000 };
                disk.write(record(key, versions, random.usize(..longest)));
                model.set(key, Some(versions));
            }
            45..53 => {
                disk.forget(digest(key));
                model.set(key, None);
            }
            53..90 => {
                if let Some((loaded, _)) = disk.read(digest(key), &key.to_le_bytes()).await {
                    let version = version(key, &loaded);
                    assert!(
                        model.allows(key, version, false),
                        "seed {seed}: key {key} has {version}"
                    );
                    hits += 1;
                }
            }
            90..95 => {
                disk.flush().await;
                model.since_flush.clear();
            }
            what => {
                let was_killed = what < 98;
                if !was_killed {
                    disk.close();
                    model.since_flush.clear();
                }
                let copy = image(folder.path());
                if what == 97 {
                    damage(copy.path(), &mut random);
                }
                drop(disk);
                folder = copy;
                disk = open(folder.path(), None);
                recovered(&disk).await;
                for key in 0..KEYS {
                    let found = disk.read(digest(key), &key.to_le_bytes()).await;
                    let found = found.map(|(loaded, _)| version(key, &loaded));
                    let is_allowed = found.is_none_or(|found| {
                        // Damage may have hit the record that made an older one invalid.
                        what == 97 || model.allows(key, found, was_killed)
                    });
                    assert!(is_allowed, "seed {seed}: key {key} has {found:?} after a restart");
                    model.current.insert(key, found);
                }
                model.since_flush.clear();
            }
        }
    }
    hits
}

/// Flips some bits.
fn damage(path: &Path, random: &mut fastrand::Rng) {
    for entry in fs::read_dir(path).expect("folder") {
        let path = entry.expect("entry").path();
        if path.to_string_lossy().contains("seg-") {
            let mut bytes = fs::read(&path).expect("read");
            for _ in 0..3.min(bytes.len()) {
                let at = random.usize(..bytes.len());
                bytes[at] ^= 1 << random.u32(..8);
            }
            fs::write(path, bytes).expect("written");
        }
    }
}

#[tokio::test]
async fn random_histories_never_bring_back_what_was_replaced_or_forgotten() {
    let wanted = std::env::var("FOREBAY_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let seeds = wanted.unwrap_or(15);
    let mut hits = 0;
    for seed in 0..seeds {
        hits += history(seed).await;
    }
    let seeds = u32::try_from(seeds).expect("not so many");
    assert!(hits > 10 * seeds, "only {hits} hits");
}

#[tokio::test]
async fn the_capacity_is_kept_and_records_in_use_stay() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = open(folder.path(), None);
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
    let disk = open(folder.path(), None);
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
    let error = Folder::open(folder.path()).expect_err("foreign");
    assert!(error.to_string().contains("has a file `letter.txt`"), "{error}");
    fs::remove_file(folder.path().join("letter.txt")).expect("removed");
    let first = Folder::open(folder.path()).expect("empty");
    let error = Folder::open(folder.path()).expect_err("in use");
    assert!(error.to_string().contains("another process"), "{error}");
    let identity = first.identity();
    drop(first);
    let second = Folder::open(folder.path()).expect("again").identity();
    assert_eq!(second, Identity { epoch: identity.epoch + 1, ..identity });
    // Another format, or damage: it starts empty.
    fs::write(folder.path().join("super"), "something").expect("written");
    fs::write(folder.path().join("seg-000000000000"), "old").expect("written");
    let third = Folder::open(folder.path()).expect("cleared").identity();
    assert!(third.tier != identity.tier && third.epoch == 1);
    assert!(!folder.path().join("seg-000000000000").exists());
}

/// Bytes of an equal record of another tier are never taken for this one's.
#[tokio::test]
async fn an_old_segment_that_is_put_back_is_not_read() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = open(folder.path(), None);
    disk.write(record(1, 1, 100));
    disk.close();
    let old = fs::read(folder.path().join("seg-000000000000")).expect("read");
    disk_reopened(folder.path(), |folder| folder.clear().expect("cleared"));
    fs::write(folder.path().join("seg-000000000000"), &old).expect("put back");
    let disk = open(folder.path(), None);
    recovered(&disk).await;
    assert!(disk.read(digest(1), &1_u64.to_le_bytes()).await.is_none());
    assert_eq!(disk.usage().entries, 0);
}

fn disk_reopened(path: &Path, change: impl FnOnce(&mut Folder)) {
    change(&mut Folder::open(path).expect("folder"));
}

/// Keys and bodies of every length arrive as they were written.
#[tokio::test]
async fn records_of_all_lengths_are_read_again() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = open(folder.path(), None);
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
