//! Looking at a disk cache without changing it, also while a Forebay uses it.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use super::{
    files::{Files, SystemFiles},
    keys::EncryptionKeys,
    record::Kind,
    segment::{self, Entry, Segment, Tier},
    superblock::Superblock,
};

/// The contents of a disk cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Files with records.
    pub segments: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Responses, each with its content unless that is sliced.
    pub responses: u64,
    /// Slices of large contents.
    pub slices: u64,
    /// Compressed forms.
    pub encoded: u64,
    /// Bytes of the current records.
    pub current: u64,
    /// Records that were replaced or forgotten.
    pub obsolete: u64,
    /// Records whose checksum is wrong, if they were verified.
    pub damaged: u64,
    /// Segments that cannot be read.
    pub unreadable: u64,
}

/// The reason why a directory cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no disk cache, or one of another version.
    #[error("{} is not the directory of a disk cache, or of another version's", .0.display())]
    NoCache(PathBuf),
    /// There is no such directory.
    #[error("there is no directory {}", .0.display())]
    Missing(PathBuf),
    /// Its records cannot be verified without their key.
    #[error("the disk cache in {} is encrypted with a key that was not given", .0.display())]
    Encrypted(PathBuf),
    /// The directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    System {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl InspectError {
    /// The fix for it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Encrypted(_) => {
                "give its keys with --encryption-key-file, or the configuration with --config; `forebay cache stat` needs no key"
            }
            Self::NoCache(_) | Self::Missing(_) => {
                "name the directory of a disk cache with --dir, or the configuration with --config"
            }
            Self::System { .. } => "run this as the user that runs Forebay, or as root",
        }
    }
}

/// Counts the records in a directory. `progress` is called with the number of files read so far and of all.
///
/// # Errors
/// If the directory cannot be read or has no cache.
pub fn count(path: &Path, progress: impl Fn(u64, u64)) -> Result<Inspection, InspectError> {
    inspect(path, None, progress)
}

/// Counts the records in a directory like [`count`], and verifies them.
///
/// # Errors
/// If the directory cannot be read or has no cache, or if its key is missing.
pub fn verify(
    path: &Path,
    keys: &EncryptionKeys,
    progress: impl Fn(u64, u64),
) -> Result<Inspection, InspectError> {
    inspect(path, Some(keys), progress)
}

/// Verifies the records if there are keys.
fn inspect(
    path: &Path,
    keys: Option<&EncryptionKeys>,
    progress: impl Fn(u64, u64),
) -> Result<Inspection, InspectError> {
    let failed = |source| InspectError::System { path: path.to_owned(), source };
    let files = SystemFiles::reading(path);
    let names = match files.list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(InspectError::Missing(path.to_owned()));
        }
        names => names.map_err(failed)?,
    };
    if names.is_empty() {
        // It was cleared.
        return Ok(Inspection::default());
    }
    let superblock = Superblock::read(path).map_err(failed)?;
    let superblock = superblock.ok_or_else(|| InspectError::NoCache(path.to_owned()))?;
    let of_cache = keys.map(|keys| superblock.keys(keys)).unwrap_or_default();
    if keys.is_some() && superblock.identity(&of_cache).is_none() {
        return Err(InspectError::Encrypted(path.to_owned()));
    }
    // A Forebay that runs writes files of the newest epoch.
    let epoch = superblock.note.epoch.saturating_add(1);
    let tier = Tier { id: superblock.tier, epoch, keys: of_cache };
    let mut sequences: Vec<u64> =
        names.iter().filter_map(|name| segment::sequence_of(name)).collect();
    sequences.sort_unstable_by(|a, b| b.cmp(a));
    let (mut found, mut seen) = (Inspection::default(), HashSet::new());
    let all = sequences.len() as u64;
    for (done, &sequence) in (0..).zip(&sequences) {
        progress(done, all);
        let mut read = || {
            let segment = Segment::open(&files, &tier, 0, sequence).ok().flatten()?;
            let is_locked = keys.is_some() && !segment.protection.is_readable();
            let entries = segment.entries().ok().filter(|_| !is_locked)?;
            found.segments += 1;
            found.bytes += segment.length();
            records(&segment, &entries, keys.is_some(), &mut found, &mut seen);
            Some(())
        };
        // A Forebay that runs may just have created, cut or evicted it.
        let is_read = (0..2).any(|_| read().is_some());
        if !is_read && path.join(segment::name(sequence)).exists() && !is_new(path, sequence) {
            found.unreadable += 1;
        }
    }
    progress(all, all);
    Ok(found)
}

/// Whether the first block of a file is not written yet.
fn is_new(path: &Path, sequence: u64) -> bool {
    let mut start = [0; 8];
    let file = std::fs::File::open(path.join(segment::name(sequence)));
    let read = file.and_then(|mut file| io::Read::read_exact(&mut file, &mut start));
    read.is_ok() && start == [0; 8]
}

fn records(
    segment: &Segment,
    entries: &[Entry],
    verify: bool,
    found: &mut Inspection,
    seen: &mut HashSet<(u64, u64)>,
) {
    for entry in entries.iter().rev() {
        let is_current = seen.insert((entry.digest.0, entry.digest.1));
        if !entry.kind.is_indexed() {
            continue;
        }
        if !is_current {
            found.obsolete += 1;
            continue;
        }
        found.current += entry.length as u64;
        *match entry.kind {
            Kind::Slice => &mut found.slices,
            Kind::Encoded => &mut found.encoded,
            _ => &mut found.responses,
        } += 1;
        let place = entry.place(segment.slot).filter(|_| verify);
        if place.is_some_and(|place| segment.record(place).is_err()) {
            found.damaged += 1;
        }
    }
}
