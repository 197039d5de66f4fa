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
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::System { path, source } => match source.kind() {
                io::ErrorKind::PermissionDenied => format!(
                    "give the directory to the user that runs Forebay, for example with `chown forebay {}`",
                    path.display()
                ),
                io::ErrorKind::ReadOnlyFilesystem => {
                    "use a directory on a writable file system".into()
                }
                io::ErrorKind::NotFound => "name the directory of a disk cache".into(),
                io::ErrorKind::StorageFull => "free some space on its file system".into(),
                _ => "use a directory on a local file system".into(),
            },
            Self::InUse(_) => "stop the other Forebay, or configure another directory".into(),
            Self::Foreign { .. } => "use an empty directory, or a new one".into(),
        }
    }
}

/// An open folder, locked against other processes until dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Only for the lock.
    _lock: File,
    identity: Identity,
    keys: EncryptionKeys,
}

impl Folder {
    /// Opens a folder, or creates it. What another version of the format has written is removed, and what these keys
    /// cannot decrypt.
    pub(crate) fn open(path: &Path, keys: EncryptionKeys) -> Result<Self, FolderError> {
        let failed = |source| FolderError::System { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = lock(path)?;
        let names = names(path).map_err(failed)?;
        let is_new = !names.iter().any(|name| name == SUPERBLOCK);
        if let Some(name) = names.iter().find(|name| is_new && !may_be_there(name)) {
            return Err(FolderError::Foreign { path: path.to_owned(), name: name.clone() });
        }
        let superblock = Superblock::read(path).map_err(failed)?;
        let last = superblock.as_ref().and_then(|superblock| superblock.identity(&keys));
        let mut folder =
            Self { path: path.to_owned(), _lock: lock, identity: Identity::new(), keys };
        match last {
            Some(last) if last.epoch < u16::MAX => {
                folder.identity = Identity { epoch: last.epoch + 1, ..last };
                let written = with_space(path, || folder.identity.write(path, &folder.keys));
                written.map_err(failed)?;
            }
            _ => {
                if !is_new {
                    let why = folder.why_unreadable(superblock.as_ref());
                    tracing::warn!(folder = %path.display(), "the disk cache starts empty, because {why}");
                }
                folder.clear().map_err(failed)?;
            }
        }
        Ok(folder)
    }

    /// Why the last process left nothing that can be used.
    fn why_unreadable(&self, superblock: Option<&Superblock>) -> &'static str {
        match superblock.map(|superblock| superblock.note.is_encrypted()) {
            None => "it was written by another version of Forebay, or is damaged",
            Some(true) if self.keys.encrypt() => {
                "none of the keys in `cache.disk.encryption_key_file` is the one that it was encrypted with"
            }
            Some(true) => "it is encrypted, and `cache.disk.encryption_key_file` is not configured",
            Some(false) if self.keys.encrypt() => {
                "it was not encrypted; from now on everything in it is"
            }
            Some(false) => "it was opened too many times",
        }
    }

    /// Removes everything, and begins a new tier.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        remove_all(&self.path)?;
        self.identity = Identity::new();
        self.identity.write(&self.path, &self.keys)
    }

    pub(crate) const fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) const fn keys(&self) -> &EncryptionKeys {
        &self.keys
    }

    /// What its segments belong to.
    pub(super) fn tier(&self) -> Tier {
        Tier { id: self.identity.tier, epoch: self.identity.epoch, keys: self.keys.clone() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the log of purges.
    pub(crate) fn purge_log(&self) -> PathBuf {
        self.path.join(PURGES)
    }
}

/// Empties the disk cache in a directory that no process uses.
///
/// # Errors
/// If a process uses it, or it is not a disk cache.
pub fn clear(path: &Path) -> Result<(), FolderError> {
    let failed = |source| FolderError::System { path: path.to_owned(), source };
    if !names(path).map_err(failed)?.iter().any(|name| is_ours(name)) {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "it has no disk cache")));
    }
    let _lock = lock(path)?;
    remove_all(path).map_err(failed)
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
                fs::remove_file(path.join(segment::name(oldest)))?;
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
