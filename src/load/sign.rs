//! Signed URLs for a load test.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::uri::PathAndQuery;

use crate::{access::signed, base::clock::Clock};

/// The error for a key that cannot sign.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign with `{}`: {reason}", path.display())]
pub struct SignerError {
    /// The key file.
    pub path: PathBuf,
    /// The problem with the key.
    pub reason: String,
}

/// Signs URLs with a private key, all until the same time.
pub struct Signer {
    signer: signed::Signer,
    /// Seconds since the Unix epoch.
    expires: u64,
}

impl Signer {
    /// A signer with the key in a PEM file, known to the server as `key_pair_id`.
    ///
    /// # Errors
    /// When the file cannot be read or has no RSA or P-256 key, or a URL cannot contain the ID.
    pub fn open(path: &Path, key_pair_id: &str, valid: Duration) -> Result<Self, SignerError> {
        let refuse = |reason: String| SignerError { path: path.to_owned(), reason };
        let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        let signer = signed::Signer::from_pem(&text, key_pair_id);
        let signer = signer.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { signer, expires: (Clock::system().now() + valid).as_secs() })
    }

    /// The signed form of a path of `server`.
    pub(super) fn sign(&self, server: &str, path: &PathAndQuery) -> PathAndQuery {
        let parameters = self.signer.canned(&format!("{server}{path}"), self.expires);
        // Path and parameters contain only characters that a URL allows.
        parameters.append_to(path.as_str()).parse().unwrap_or_else(|_| path.clone())
    }
}
