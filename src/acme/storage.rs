//! The account and the certificates on disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use instant_acme::AccountCredentials;
use rustls::crypto::aws_lc_rs;

use super::{AcmeError, issued::Issued};
use crate::tls::{CertificateFiles, TlsError};

/// A folder that only this user can read.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    folder: PathBuf,
}

impl Storage {
    /// What is in a folder.
    pub(super) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Creates the folder.
    pub(super) fn open(folder: &Path) -> Result<Self, AcmeError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| AcmeError::Storage { path: folder.to_owned(), source })?;
        Ok(Self::of(folder))
    }

    /// The account, if there is one.
    pub(super) fn account(&self) -> Result<Option<AccountCredentials>, AcmeError> {
        let path = self.folder.join("account.json");
        let refuse = |source| AcmeError::Storage { path: path.clone(), source };
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|error| refuse(error.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refuse(error)),
        }
    }

    pub(super) fn save_account(&self, account: &AccountCredentials) -> Result<(), AcmeError> {
        self.write("account.json", &serde_json::to_vec(account).unwrap_or_default())
    }

    /// The certificate of a host, if there is one that can be used.
    pub(super) fn certificate(&self, host: &str) -> Option<Result<Issued, TlsError>> {
        let path = self.folder.join(file_name(host));
        path.exists().then(|| read(path))
    }

    /// Stores a chain and its key, both in PEM. The file is replaced at once, so that they always belong together.
    pub(super) fn save_certificate(&self, host: &str, pem: &str) -> Result<Issued, AcmeError> {
        let name = file_name(host);
        self.write(&name, pem.as_bytes())?;
        read(self.folder.join(name)).map_err(|error| AcmeError::Unusable(error.to_string()))
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

fn read(path: PathBuf) -> Result<Issued, TlsError> {
    let files = CertificateFiles { certificate: path.clone(), key: path };
    let key = files.read(&aws_lc_rs::default_provider())?;
    Ok(Issued::new(Arc::clone(&key)))
}
