//! Random histories of a small disk cache, with evictions, kills, power failures, damage, and failing reads and
//! writes.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    sync::Arc,
};

use tempfile::TempDir;

use super::{
    super::{
        simulated::{Faults, SimulatedFiles},
        *,
    },
    KEY, digest, keys, open_on, record, recovered, version,
};

const KEYS: u64 = 24;

/// Copies the folder as a kill at this moment would leave it.
fn copy_into(copy: &Path, path: &Path) {
    for entry in fs::read_dir(path).expect("folder") {
        let entry = entry.expect("entry");
        // A segment may have been evicted meanwhile.
        let _ = fs::copy(entry.path(), copy.join(entry.file_name()));
    }
}

/// What may be read, by key. That nothing is found is always possible, and means nothing: the read may have failed, or
/// come too late.
#[derive(Default)]
struct Model {
    current: HashMap<u64, Option<u64>>,
    /// What the keys had when everything was last flushed, and since then.
    since_flush: HashMap<u64, Vec<Option<u64>>>,
    /// Keys that may have any of their versions.
    unknown: HashSet<u64>,
}

impl Model {
    fn set(&mut self, key: u64, version: Option<u64>) {
        let before = self.current.insert(key, version).flatten();
        self.since_flush.entry(key).or_insert_with(|| vec![before]).push(version);
    }

    fn flushed(&mut self) {
        for (key, _) in self.since_flush.drain() {
            self.unknown.remove(&key);
        }
    }

    fn restarted(&mut self, key: u64, found: Option<u64>, end: End) {
        let was_changed = self.since_flush.remove(&key).is_some();
        if found.is_some() {
            self.current.insert(key, found);
            self.unknown.remove(&key);
        } else if was_changed || end == End::Damaged {
            self.unknown.insert(key);
        }
    }

    fn allows(&self, key: u64, version: u64, was_killed: bool) -> bool {
        let recent = self.since_flush.get(&key);
        let is_unknown = self.unknown.contains(&key) && (was_killed || recent.is_none());
        self.current.get(&key) == Some(&Some(version))
            || recent.is_some_and(|recent| was_killed && recent.contains(&Some(version)))
            || is_unknown
    }
}

/// Where the segments of a history are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Files,
    EncryptedFiles,
    /// A simulated disk whose power may fail, and that may be encrypted.
    Simulated {
        encrypted: bool,
    },
    /// A simulated disk whose reads and writes may fail, too.
    Failing,
}

impl Medium {
    fn keys(self) -> EncryptionKeys {
        let is_encrypted =
            matches!(self, Self::EncryptedFiles | Self::Simulated { encrypted: true });
        keys(is_encrypted.then_some(KEY))
    }

    const fn is_simulated(self) -> bool {
        matches!(self, Self::Simulated { .. } | Self::Failing)
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Killed,
    /// Bits flip, or writes are lost.
    Damaged,
}

/// A disk cache that is opened again and again.
struct Subject {
    medium: Medium,
    folder: TempDir,
    simulated: Option<Arc<SimulatedFiles>>,
    disk: Arc<Disk>,
}

impl Subject {
    fn new(medium: Medium, seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let simulated = medium.is_simulated();
        let simulated = simulated.then(|| Arc::new(SimulatedFiles::new(folder.path(), seed)));
        let disk = Self::open(medium, folder.path(), simulated.as_ref());
        Self { medium, folder, simulated, disk }
    }

    fn open(medium: Medium, path: &Path, simulated: Option<&Arc<SimulatedFiles>>) -> Arc<Disk> {
        let files: Arc<dyn Files> = match simulated {
            Some(simulated) => Arc::<SimulatedFiles>::clone(simulated),
            None => Arc::new(SystemFiles::new(path)),
        };
        let disk = open_on(path, files, medium.keys());
        if let Some(simulated) = simulated.filter(|_| medium == Medium::Failing) {
            simulated.set_faults(Faults { read: 3, write: 20, full: 50 });
        }
        disk
    }

    async fn restart(&mut self, end: End, random: &mut fastrand::Rng) {
        if end == End::Closed {
            self.disk.close();
        }
        let copy = tempfile::tempdir().expect("folder");
        // Before the rest: a process that can no longer write removes the identity after that.
        self.simulated = self.simulated.as_ref().map(|simulated| {
            let is_damaged = end == End::Damaged;
            Arc::new(if is_damaged {
                simulated.after_power_failure(copy.path())
            } else {
                simulated.after_kill(copy.path())
            })
        });
        copy_into(copy.path(), self.folder.path());
        if end == End::Damaged {
            damage(copy.path(), random);
        }
        self.disk = Self::open(self.medium, copy.path(), self.simulated.as_ref());
        self.folder = copy;
        recovered(&self.disk).await;
    }

    async fn version(&self, key: u64) -> Option<u64> {
        let read = self.disk.read(digest(key), &key.to_le_bytes()).await;
        read.map(|(loaded, _)| version(key, &loaded))
    }
}

/// Returns the number of hits.
async fn history(medium: Medium, seed: u64) -> u32 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut subject = Subject::new(medium, seed);
    let (mut model, mut versions, mut hits) = (Model::default(), 0, 0);
    // A record that will be renewed, perhaps after it was replaced.
    let mut renewable = None;
    for _ in 0..400 {
        let key = random.u64(..KEYS);
        match random.u32(..100) {
            0..45 => {
                versions += 1;
                let longest = if random.u32(..8) == 0 { 60_000 } else { 5_000 };
                subject.disk.write(record(key, versions, random.usize(..longest)));
                model.set(key, Some(versions));
            }
            45..53 => {
                subject.disk.forget(digest(key));
                model.set(key, None);
            }
            53..57 => {
                let version = model.current.get(&key).copied().flatten();
                renewable = version.zip(subject.disk.located(digest(key))).map(|it| (key, it));
            }
            57..61 => {
                if let Some((key, (version, older))) = renewable {
                    subject.disk.renew(record(key, version, random.usize(..5_000)), older);
                }
            }
            61..90 => {
                if let Some(version) = subject.version(key).await {
                    let is_allowed = model.allows(key, version, false);
                    assert!(is_allowed, "{medium:?} {seed}: key {key} has {version}");
                    hits += 1;
                }
            }
            90..95 => {
                subject.disk.flush().await;
                model.flushed();
            }
            what => {
                let end = match what {
                    95 | 96 => End::Killed,
                    97 => End::Damaged,
                    _ => End::Closed,
                };
                if end == End::Closed {
                    model.flushed();
                }
                renewable = None;
                subject.restart(end, &mut random).await;
                for key in 0..KEYS {
                    let found = subject.version(key).await;
                    let is_allowed = found.is_none_or(|found| {
                        // The record that made an older one invalid may be lost.
                        end == End::Damaged || model.allows(key, found, end == End::Killed)
                    });
                    assert!(is_allowed, "{medium:?} {seed}: key {key} has {found:?} after {end:?}");
                    model.restarted(key, found, end);
                }
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

async fn histories(medium: Medium) {
    let wanted = std::env::var("FOREBAY_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let seeds = wanted.unwrap_or(60);
    let mut hits = 0;
    for seed in 0..seeds {
        hits += history(medium, seed).await;
    }
    let seeds = u32::try_from(seeds).expect("not so many");
    assert!(hits > 10 * seeds, "only {hits} hits");
}

#[tokio::test]
async fn random_histories_never_bring_back_what_was_replaced_or_forgotten() {
    histories(Medium::Files).await;
}

#[tokio::test]
async fn nor_does_an_encrypted_cache() {
    histories(Medium::EncryptedFiles).await;
}

#[tokio::test]
async fn nor_does_a_disk_that_loses_writes() {
    histories(Medium::Simulated { encrypted: false }).await;
    histories(Medium::Simulated { encrypted: true }).await;
}

#[tokio::test]
async fn nor_does_a_disk_whose_reads_and_writes_fail() {
    histories(Medium::Failing).await;
}
