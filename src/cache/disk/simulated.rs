//! A disk in memory whose power can fail, and whose reads and writes can fail.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fastrand::Rng;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::files::{BlockFile, Files};

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// How often something fails, of a thousand times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) read: u32,
    pub(super) write: u32,
    /// Creations that find no space.
    pub(super) full: u32,
}

/// What fails, and by which random numbers.
#[derive(Debug)]
struct Luck {
    random: Rng,
    faults: Faults,
}

impl Luck {
    fn strikes(&mut self, fault: impl Fn(&Faults) -> u32) -> bool {
        self.random.u32(..1000) < fault(&self.faults)
    }
}

/// A change of the folder. A power failure loses the last ones.
#[derive(Debug)]
enum Change {
    Created(String),
    Removed(String, Arc<SimulatedFile>),
}

#[derive(Debug, Default)]
struct Contents {
    files: BTreeMap<String, Arc<SimulatedFile>>,
    changes: Vec<Change>,
}

impl Contents {
    /// Undoes the last changes.
    fn undo(&mut self, changes: usize) {
        for _ in 0..changes {
            match self.changes.pop() {
                Some(Change::Created(name)) => {
                    self.files.remove(&name);
                }
                Some(Change::Removed(name, file)) => {
                    self.files.insert(name, file);
                }
                None => {}
            }
        }
    }
}

/// The segments of a folder. Its other files are real.
#[derive(Debug)]
pub(super) struct SimulatedFiles {
    folder: PathBuf,
    contents: Mutex<Contents>,
    luck: Arc<Mutex<Luck>>,
}

impl SimulatedFiles {
    pub(super) fn new(folder: &Path, seed: u64) -> Self {
        let luck = Luck { random: Rng::with_seed(seed), faults: Faults::default() };
        Self {
            folder: folder.to_owned(),
            contents: Mutex::default(),
            luck: Arc::new(Mutex::new(luck)),
        }
    }

    /// From now on, this fails.
    pub(super) fn set_faults(&self, faults: Faults) {
        self.luck.lock().faults = faults;
    }

    /// The disk as it is now, in the folder of the next process.
    pub(super) fn after_kill(&self, folder: &Path) -> Self {
        self.after(folder, |_, file| file.length(), |_, file| file.writes.lock().clone())
    }

    /// The disk after a power failure: nothing was synchronized. Some of the last creations and removals are lost, and
    /// some truncations, and each write is kept, lost or torn.
    pub(super) fn after_power_failure(&self, folder: &Path) -> Self {
        let lost = self.luck.lock().random.usize(..4);
        self.contents.lock().undo(lost);
        let length = |random: &mut Rng, file: &SimulatedFile| {
            if random.bool() { file.length() } else { file.allocated }
        };
        self.after(folder, length, |random, file| {
            let mut kept = Vec::new();
            for (offset, bytes) in file.writes.lock().iter() {
                let lost_sectors = match random.u32(..10) {
                    0 => 10,
                    1 => 5,
                    2 => 1,
                    _ => 0,
                };
                for (sector, bytes) in (0..).zip(bytes.chunks(SECTOR)) {
                    if random.u32(..10) >= lost_sectors {
                        kept.push((offset + sector * SECTOR as u64, bytes.to_vec()));
                    }
                }
            }
            kept
        })
    }

    fn after(
        &self,
        folder: &Path,
        length: impl Fn(&mut Rng, &SimulatedFile) -> u64,
        writes: impl Fn(&mut Rng, &SimulatedFile) -> Vec<(u64, Vec<u8>)>,
    ) -> Self {
        let mut random = self.luck.lock().random.fork();
        let after = Self::new(folder, random.u64(..));
        for (name, file) in &self.contents.lock().files {
            let next = SimulatedFile {
                length: length(&mut random, file).into(),
                allocated: file.allocated,
                writes: Mutex::new(writes(&mut random, file)),
                luck: Arc::clone(&after.luck),
            };
            after.contents.lock().files.insert(name.clone(), Arc::new(next));
        }
        after
    }
}

impl Files for SimulatedFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.contents.lock().files.keys().cloned().collect())
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn BlockFile>> {
        if self.luck.lock().strikes(|faults| faults.full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let luck = Arc::clone(&self.luck);
        let file = SimulatedFile {
            length: length.into(),
            allocated: length,
            writes: Mutex::default(),
            luck,
        };
        let file = Arc::new(file);
        let mut contents = self.contents.lock();
        contents.files.insert(name.to_owned(), Arc::clone(&file));
        contents.changes.push(Change::Created(name.to_owned()));
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BlockFile>> {
        let found = self.contents.lock().files.get(name).cloned();
        Ok(found.ok_or(io::ErrorKind::NotFound)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut contents = self.contents.lock();
        match contents.files.remove(name) {
            Some(file) => {
                contents.changes.push(Change::Removed(name.to_owned(), file));
                Ok(())
            }
            None => std::fs::remove_file(self.folder.join(name)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file, as what was written to it. The rest is zeros.
#[derive(Debug)]
struct SimulatedFile {
    length: AtomicU64,
    /// Its length when it was created.
    allocated: u64,
    writes: Mutex<Vec<(u64, Vec<u8>)>>,
    luck: Arc<Mutex<Luck>>,
}

impl SimulatedFile {
    fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }
}

impl BlockFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.length())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.luck.lock().strikes(|faults| faults.read) {
            return Err(Errno::IO.into());
        }
        let available = self.length().saturating_sub(offset).min(buffer.len() as u64);
        let end = offset + available;
        let length = usize::try_from(available).expect("at most the buffer's length");
        buffer[..length].fill(0);
        for (at, bytes) in self.writes.lock().iter() {
            let (from, to) = (offset.max(*at), end.min(at + bytes.len() as u64));
            if from < to {
                let place = |start| usize::try_from(from - start).expect("within the bytes");
                let length = usize::try_from(to - from).expect("within the bytes");
                let (into, out_of) = (place(offset), place(*at));
                buffer[into..into + length].copy_from_slice(&bytes[out_of..out_of + length]);
            }
        }
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        assert!(offset + bytes.len() as u64 <= self.length(), "a write beyond the end");
        let mut luck = self.luck.lock();
        if luck.strikes(|faults| faults.write) {
            // Some of it may have reached the disk.
            let reached = luck.random.usize(..=bytes.len() / SECTOR) * SECTOR;
            self.writes.lock().push((offset, bytes[..reached].to_vec()));
            return Err(Errno::IO.into());
        }
        drop(luck);
        self.writes.lock().push((offset, bytes.to_vec()));
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        if self.luck.lock().strikes(|faults| faults.write) {
            return Err(Errno::IO.into());
        }
        self.length.store(length, Ordering::Relaxed);
        Ok(())
    }
}
