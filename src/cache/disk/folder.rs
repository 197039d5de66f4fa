//! The folder of a disk cache: who uses it, and the identity of what lies in it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use super::{
    checksum::checksum,
    files::names,
    layout::{FORMAT, Fields},
    segment::{TierId, sequence_of},
};
use crate::cache::digest::random_secret;

/// The file with the identity.
pub(super) const IDENTITY_FILE: &str = "super";

/// The file with the purges.
const PURGES: &str = "purge.log";

const MAGIC: u64 = u64::from_le_bytes(*b"FBSUPER\0");

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

/// The identity of what a folder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) tier: TierId,
    /// Higher at each start.
    pub(crate) epoch: u16,
    /// The key of the hash function of the keys.
    pub(crate) secret: [u64; 2],
}

/// An open folder, locked against other processes until dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Only for the lock.
    _lock: File,
    identity: Identity,
}

impl Folder {
    /// Opens a folder, or creates it. What another version of the format has written is removed.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |source| FolderError::System { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = File::open(path).map_err(failed)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(FolderError::InUse(path.to_owned())),
            locked => locked.map_err(|error| failed(error.into()))?,
        }
        let names = names(path).map_err(failed)?;
        let is_new = !names.iter().any(|name| name == IDENTITY_FILE);
        if let Some(name) = names.iter().find(|name| is_new && !may_be_there(name)) {
            return Err(FolderError::Foreign { path: path.to_owned(), name: name.clone() });
        }
        let mut folder = Self { path: path.to_owned(), _lock: lock, identity: Identity::new() };
        match read_identity(path).map_err(failed)? {
            Some(last) if last.epoch < u16::MAX => {
                folder.identity = Identity { epoch: last.epoch + 1, ..last };
                folder.write_identity().map_err(failed)?;
            }
            _ => {
                if !is_new {
                    tracing::warn!(
                        folder = %path.display(),
                        "the disk cache was written by another version of Forebay, or is damaged; it starts empty"
                    );
                }
                folder.clear().map_err(failed)?;
            }
        }
        Ok(folder)
    }

    /// Removes everything, and begins a new tier.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        for name in names(&self.path)?.iter().filter(|name| is_ours(name)) {
            fs::remove_file(self.path.join(name))?;
        }
        self.identity = Identity::new();
        self.write_identity()
    }

    pub(crate) const fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the log of purges.
    pub(crate) fn purge_log(&self) -> PathBuf {
        self.path.join(PURGES)
    }

    /// Writes the identity, which is on disk when this returns.
    fn write_identity(&self) -> io::Result<()> {
        let Identity { tier, epoch, secret } = self.identity;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&tier);
        bytes.extend_from_slice(&epoch.to_le_bytes());
        for half in secret {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        replace(&self.path.join(IDENTITY_FILE), &bytes)
    }
}

/// Empties the disk cache in a directory that no process uses.
///
/// # Errors
/// If a process uses it, or it is not a disk cache.
pub fn clear(path: &Path) -> Result<(), FolderError> {
    if !path.join(IDENTITY_FILE).exists() {
        let source = io::Error::new(io::ErrorKind::NotFound, "it has no disk cache");
        return Err(FolderError::System { path: path.to_owned(), source });
    }
    let failed = |source| FolderError::System { path: path.to_owned(), source };
    Folder::open(path)?.clear().map_err(failed)
}

impl Identity {
    fn new() -> Self {
        let [first, second] = [(); 2].map(|()| fastrand::u64(..).to_le_bytes());
        let mut tier = [0; 16];
        tier[..8].copy_from_slice(&first);
        tier[8..].copy_from_slice(&second);
        Self { tier, epoch: 1, secret: random_secret() }
    }
}

/// Whether a new folder may have this file: `lost+found` is at the root of a file system.
fn may_be_there(name: &str) -> bool {
    is_ours(name) || name == "lost+found"
}

/// Whether a file belongs to a disk cache.
fn is_ours(name: &str) -> bool {
    const TEMPORARY: [&str; 3] = ["super.tmp", "purge.tmp", "direct.tmp"];
    name == IDENTITY_FILE
        || name == PURGES
        || TEMPORARY.contains(&name)
        || sequence_of(name).is_some()
}

/// The identity in a folder. `None` if it has none, or that of another format.
pub(crate) fn read_identity(path: &Path) -> io::Result<Option<Identity>> {
    match fs::read(path.join(IDENTITY_FILE)) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(bytes: &[u8]) -> Option<Identity> {
    let mut fields = Fields(bytes);
    let is_ours = fields.u64()? == MAGIC && fields.u32()? == FORMAT;
    let tier = fields.array()?;
    let epoch = fields.u16()?;
    let secret = [fields.u64()?, fields.u64()?];
    let covered = bytes.len() - fields.0.len();
    let is_valid = is_ours && fields.u64()? == checksum(&bytes[..covered]);
    is_valid.then_some(Identity { tier, epoch, secret })
}

/// Replaces a file: after a crash it has either content, and never a mixture. On disk when this returns.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file =
        OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
