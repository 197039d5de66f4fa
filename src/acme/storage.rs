//! The account and the certificates on disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::AcmeError;

const ACCOUNT: &str = "account.json";

/// A folder that only this user can read.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    folder: PathBuf,
}

impl Storage {
    /// The storage in a folder.
    pub(super) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Creates the folder, and checks that it can be written: a certificate that cannot be stored is lost with the
    /// process, and authorities issue only a few a week.
    pub(super) fn open(folder: &Path) -> Result<Self, AcmeError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| AcmeError::Storage { path: folder.to_owned(), source })?;
        let storage = Self::of(folder);
        storage.write("probe", &[])?;
        let _ = fs::remove_file(folder.join("probe"));
        Ok(storage)
    }

    /// The stored account, if there is one.
    pub(super) fn account(&self) -> Result<Option<Vec<u8>>, AcmeError> {
        self.read(ACCOUNT)
    }

    pub(super) fn save_account(&self, account: &[u8]) -> Result<(), AcmeError> {
        self.write(ACCOUNT, account)
    }

    /// Renames the account, so that another one can be created.
    pub(super) fn set_account_aside(&self) {
        let path = self.folder.join(ACCOUNT);
        let _ = fs::rename(&path, path.with_extension("json.old"));
    }

    /// The key and the certificates of a host in PEM, if there are any.
    pub(super) fn certificate(&self, host: &str) -> Result<Option<Vec<u8>>, AcmeError> {
        self.read(&file_name(host))
    }

    /// Stores the key and the certificates of a host in one file, so that they always belong together.
    pub(super) fn save_certificate(&self, host: &str, pem: &str) -> Result<(), AcmeError> {
        self.write(&file_name(host), pem.as_bytes())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, AcmeError> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AcmeError::Storage { path, source }),
        }
    }

    /// Replaces a file, durably.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), AcmeError> {
        let (path, new) = (self.folder.join(name), self.folder.join(format!("{name}.new")));
        let write = || {
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|source| AcmeError::Storage { path: path.clone(), source })
    }
}

fn file_name(host: &str) -> String {
    format!("{host}.pem")
}
