//! The files of logs.

use std::{io, path::PathBuf};

use super::targets_error::TargetsError;

/// The files that are meant by files, directories and `-`.
pub(super) fn log_files(logs: &[PathBuf]) -> Result<Vec<PathBuf>, TargetsError> {
    let mut files = Vec::new();
    for log in logs {
        if !log.is_dir() {
            files.push(log.clone());
            continue;
        }
        let refuse =
            |error: io::Error| TargetsError::File { path: log.clone(), reason: error.to_string() };
        let mut within = Vec::new();
        for entry in std::fs::read_dir(log).map_err(refuse)? {
            let path = entry.map_err(refuse)?.path();
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if !is_hidden {
                within.push(path);
            }
        }
        within.sort();
        files.extend(log_files(&within)?);
    }
    Ok(files)
}
