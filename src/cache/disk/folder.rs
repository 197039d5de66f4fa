//! The folder of a disk cache, which one process uses at a time.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use super::{
    files::names,
    keys::EncryptionKeys,
    segment::{self, Tier, sequence_of},
    superblock::{Identity, SUPERBLOCK, Superblock},
};

/// The file with the purges.
const PURGES: &str = "purge.log";

/// The reason why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be created, read or written.
    #[error("the disk cache cannot use the directory {}: {source}", path.display())]
    System {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is a file, or below one.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Another process has it open.
    #[error("another process uses the disk cache in {}", .0.display())]
    InUse(PathBuf),
    /// It has files that are not a cache's.
    #[error(
        "{} is not empty and is not a disk cache: it has a file `{name}`",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// One of the files.
        name: String,
    },
}

impl FolderError {
    /// The fix for it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::System { path, source } => match source.kind() {
                io::ErrorKind::PermissionDenied => denied(path),
                io::ErrorKind::ReadOnlyFilesystem => {
                    "use a directory on a writable file system".into()
                }
                io::ErrorKind::NotFound => "name the directory of a disk cache".into(),
                io::ErrorKind::StorageFull => "free some space on its file system".into(),
                _ => "use a directory on a local file system".into(),
            },
            Self::NotADirectory(_) => {
                "name a directory; if it does not exist, Forebay creates it".into()
            }
            Self::InUse(_) => "stop the other Forebay, or configure another directory".into(),
            Self::Foreign { .. } => "use an empty directory, or a new one".into(),
        }
    }
}

/// The fix if a directory cannot be created or used.
pub(crate) fn denied(path: &Path) -> String {
    let path = path.display();
    format!(
        "make the directory for the user that runs Forebay, for example with `sudo install -d -o USER {path}`, or configure another"
    )
}

/// An open folder, locked against other processes until dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Only for the lock; `None` while another process may have it.
    lock: Option<File>,
    identity: Identity,
    keys: EncryptionKeys,
}

impl Folder {
    /// Opens a folder, or creates it. What another version of the format has written is removed, and what these keys
    /// cannot decrypt.
    pub(crate) fn open(path: &Path, keys: EncryptionKeys) -> Result<Self, FolderError> {
        let failed = |source| FolderError::System { path: path.to_owned(), source };
        check_directory(path)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = lock(path)?;
        let Found { was_used, superblock, last } = Found::in_folder(path, &keys)?;
        let mut folder =
            Self { path: path.to_owned(), lock: Some(lock), identity: Identity::new(), keys };
        match last {
            Some(last) if last.epoch < u16::MAX => {
                folder.identity = Identity { epoch: last.epoch + 1, ..last };
                let written = with_space(path, || folder.identity.write(path, &folder.keys));
                written.map_err(failed)?;
            }
            _ => {
                if was_used {
                    let why = why_unreadable(superblock.as_ref(), &folder.keys);
                    tracing::warn!(directory = %path.display(), "the disk cache starts empty, because {why}");
                }
                folder.clear().map_err(failed)?;
            }
        }
        Ok(folder)
    }

    /// Removes everything, and begins a new tier.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        remove_all(&self.path)?;
        self.identity = Identity::new();
        self.identity.write(&self.path, &self.keys)
    }

    /// Lets another process use the folder.
    pub(super) fn unlock(&mut self) {
        self.lock = None;
    }

    /// Uses the folder again. Returns the number of the next segment.
    pub(super) fn lock_again(&mut self) -> Result<u64, FolderError> {
        self.lock = Some(lock(&self.path)?);
        let names = names(&self.path);
        let names =
            names.map_err(|source| FolderError::System { path: self.path.clone(), source })?;
        Ok(names.iter().filter_map(|name| sequence_of(name)).max().map_or(0, |last| last + 1))
    }

    pub(crate) const fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) const fn keys(&self) -> &EncryptionKeys {
        &self.keys
    }

    /// The tier of its segments.
    pub(super) fn tier(&self) -> Tier {
        Tier { id: self.identity.tier, epoch: self.identity.epoch, keys: self.keys.clone() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the log of purges.
    pub(crate) fn purge_log(&self) -> PathBuf {
        purge_log(&self.path)
    }
}

/// The path of the log of purges in a folder.
pub(crate) fn purge_log(folder: &Path) -> PathBuf {
    folder.join(PURGES)
}

/// The identity and the keys of the disk cache in a folder, if it has one that these keys open. Unlike a start, this
/// also reads what is not encrypted although there are keys.
pub(crate) fn identity_of(
    path: &Path,
    keys: &EncryptionKeys,
) -> io::Result<Option<(Identity, EncryptionKeys)>> {
    let Some(superblock) = Superblock::read(path)? else { return Ok(None) };
    let keys = superblock.keys(keys);
    Ok(superblock.identity(&keys).map(|identity| (identity, keys)))
}

/// The state in which earlier processes left a folder.
struct Found {
    /// Whether it has files of a disk cache.
    was_used: bool,
    superblock: Option<Superblock>,
    /// The identity, if one of the keys opens it.
    last: Option<Identity>,
}

impl Found {
    /// Refuses a folder that has other files and no disk cache.
    fn in_folder(path: &Path, keys: &EncryptionKeys) -> Result<Self, FolderError> {
        let failed = |source| FolderError::System { path: path.to_owned(), source };
        let names = names(path).map_err(failed)?;
        let is_new = !names.iter().any(|name| name == SUPERBLOCK);
        if let Some(name) = names.iter().find(|name| is_new && !may_be_there(name)) {
            return Err(FolderError::Foreign { path: path.to_owned(), name: name.clone() });
        }
        let was_used = names.iter().any(|name| name == SUPERBLOCK || sequence_of(name).is_some());
        let superblock = Superblock::read(path).map_err(failed)?;
        let last = superblock.as_ref().and_then(|superblock| superblock.identity(keys));
        Ok(Self { was_used, superblock, last })
    }
}

/// The contents of a directory, as a start would find them.
#[derive(Debug)]
pub(crate) enum Examined {
    /// Nothing yet.
    New,
    /// A process uses it.
    InUse,
    /// A disk cache of this identity.
    Cache(Identity),
    /// A disk cache that cannot be used, for this reason.
    Unusable(String),
}

/// Finds out what a start would find in a directory, without changing it.
pub(crate) fn examine(path: &Path, keys: &EncryptionKeys) -> Result<Examined, FolderError> {
    check_directory(path)?;
    if !path.exists() {
        return Ok(Examined::New);
    }
    match lock(path) {
        Err(FolderError::InUse(_)) => return Ok(Examined::InUse),
        locked => drop(locked?),
    }
    Ok(match Found::in_folder(path, keys)? {
        Found { was_used: false, .. } => Examined::New,
        Found { last: Some(identity), .. } => Examined::Cache(identity),
        Found { superblock, .. } => {
            Examined::Unusable(why_unreadable(superblock.as_ref(), keys).to_owned())
        }
    })
}

/// Why what earlier processes left cannot be used.
fn why_unreadable(superblock: Option<&Superblock>, keys: &EncryptionKeys) -> &'static str {
    match superblock.map(|superblock| superblock.note.is_encrypted()) {
        None => {
            "its file `super` is missing or damaged, or it was written by another version of Forebay"
        }
        Some(true) if keys.encrypt() => {
            "none of the keys in `cache.disk.encryption_key_file` is the one that it was encrypted with"
        }
        Some(true) => "it is encrypted, and `cache.disk.encryption_key_file` is not configured",
        Some(false) if keys.encrypt() => "it was not encrypted; new content is",
        Some(false) => "it was opened too many times",
    }
}

/// Refuses a path that is a file, or below one.
fn check_directory(path: &Path) -> Result<(), FolderError> {
    let existing = existing(path);
    let is_directory = existing.is_dir();
    is_directory.then_some(()).ok_or_else(|| FolderError::NotADirectory(existing.to_owned()))
}

/// The directory, or the first one above it that exists.
pub(crate) fn existing(path: &Path) -> &Path {
    let is_here = |path: &&Path| path.as_os_str().is_empty() || path.exists();
    match path.ancestors().find(is_here) {
        Some(found) if !found.as_os_str().is_empty() => found,
        _ => Path::new("."),
    }
}

/// Empties the disk cache in a directory that no process uses. Returns the names of other files in it.
///
/// # Errors
/// If a process uses it, or it is not a disk cache.
pub fn clear(path: &Path) -> Result<Vec<String>, FolderError> {
    let failed = |source| FolderError::System { path: path.to_owned(), source };
    let names = names(path).map_err(failed)?;
    if !names.is_empty() && !names.iter().any(|name| is_ours(name)) {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "it has no disk cache")));
    }
    let _lock = lock(path)?;
    remove_all(path).map_err(failed)?;
    Ok(names.into_iter().filter(|name| !may_be_there(name)).collect())
}

/// Locks a folder against other processes, until the file is closed.
fn lock(path: &Path) -> Result<File, FolderError> {
    let failed = |source| FolderError::System { path: path.to_owned(), source };
    let folder = File::open(path).map_err(failed)?;
    match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(FolderError::InUse(path.to_owned())),
        locked => locked.map(|()| folder).map_err(|error| failed(error.into())),
    }
}

/// Does something that needs a little space. If the disk is full, the oldest segment gives way.
pub(crate) fn with_space<T>(path: &Path, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let oldest = names(path)?.iter().filter_map(|name| sequence_of(name)).min();
                let Some(oldest) = oldest else { return Err(error) };
                let file = segment::name(oldest);
                fs::remove_file(path.join(&file))?;
                tracing::warn!(
                    file,
                    "the disk is full; the oldest file of the disk cache gave way"
                );
            }
            done => return done,
        }
    }
}

/// Removes all files of a disk cache. The identity goes first: without it, the others are never used.
fn remove_all(path: &Path) -> io::Result<()> {
    let mut names = names(path)?;
    names.retain(|name| is_ours(name));
    names.sort_unstable_by_key(|name| name != SUPERBLOCK);
    names.iter().try_for_each(|name| fs::remove_file(path.join(name)))
}

/// Whether a new folder may have this file: `lost+found` is at the root of a file system.
fn may_be_there(name: &str) -> bool {
    is_ours(name) || name == "lost+found"
}

/// Whether a file belongs to a disk cache.
fn is_ours(name: &str) -> bool {
    const TEMPORARY: [&str; 3] = ["super.tmp", "purge.tmp", "direct.tmp"];
    name == SUPERBLOCK || name == PURGES || TEMPORARY.contains(&name) || sequence_of(name).is_some()
}
