//! Files with secret keys: 32 bytes in base64 on each line, the newest first.

use std::{
    io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Length of a key in bytes.
pub const KEY: usize = 32;

/// A secret key.
pub type SecretKey = Zeroizing<Vec<u8>>;

/// The reason why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error("the keys in {} cannot be read: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A line is not a key.
    #[error("line {line} of {} is not a key: expected 32 bytes in base64, which are 44 characters", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
    /// It has no keys.
    #[error("{} has no key", .0.display())]
    Empty(PathBuf),
}

impl KeysError {
    /// The fix for it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::System { path, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("give {} to the user that runs Forebay", path.display())
            }
            Self::System { path, source } if source.kind() == io::ErrorKind::NotFound => {
                format!("make a key with `openssl rand -base64 32 > {}`", path.display())
            }
            Self::System { .. } => "name a file with one key a line, the newest first".into(),
            Self::Line { .. } => "correct or remove this line, and leave the others".into(),
            Self::Empty(path) => {
                format!("add a key with `openssl rand -base64 32 >> {}`", path.display())
            }
        }
    }
}

/// Reads a file of keys. Empty lines and those that begin with `#` are ignored.
///
/// # Errors
/// If it cannot be read, or a line is not a key, or there is none.
pub fn read_keys(path: &Path) -> Result<Vec<SecretKey>, KeysError> {
    let text = std::fs::read(path)
        .map_err(|source| KeysError::System { path: path.to_owned(), source })?;
    let text = Zeroizing::new(text);
    let lines = (1..).zip(text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii));
    let lines = lines.filter(|(_, text)| !text.is_empty() && !text.starts_with(b"#"));
    let keys: Vec<SecretKey> = lines
        .map(|(line, text)| {
            key(text).ok_or_else(|| KeysError::Line { path: path.to_owned(), line })
        })
        .collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(KeysError::Empty(path.to_owned())) } else { Ok(keys) }
}

fn key(text: &[u8]) -> Option<SecretKey> {
    let secret = Zeroizing::new(STANDARD.decode(text).ok()?);
    (secret.len() == KEY).then_some(secret)
}
