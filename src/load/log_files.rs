//! The files of logs.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::targets_error::TargetsError;

/// The files that are meant by files, directories and `-`.
pub(crate) fn log_files(logs: &[PathBuf]) -> Result<Vec<PathBuf>, TargetsError> {
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
            // Files that Forebay is still writing, and those that only other programs read.
            let is_other = path.extension().is_some_and(|it| it == "part" || it == "parquet");
            if !is_hidden && !is_other {
                within.push(path);
            }
        }
        within.sort();
        files.extend(log_files(&within)?);
    }
    Ok(files)
}

/// Reads the lines of a file, which is compressed if its name ends in `.gz`, or of standard input (`-`). `read` gets the number of
/// each line, from one.
pub(crate) fn for_each_line(
    file: &Path,
    mut read: impl FnMut(usize, &str) -> Result<(), TargetsError>,
) -> Result<(), TargetsError> {
    let refuse = |reason: String| TargetsError::File { path: file.to_owned(), reason };
    let text: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        let opened = std::fs::File::open(file).map_err(|error| refuse(error.to_string()))?;
        let is_packed = file.extension().is_some_and(|ending| ending == "gz");
        if is_packed { Box::new(MultiGzDecoder::new(opened)) } else { Box::new(opened) }
    };
    let mut lines = BufReader::new(text);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(|error| refuse(error.to_string()))? == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&line);
        // Some editors write a byte order mark before the first line.
        let line = line.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
        read(number, line)?;
    }
    Ok(())
}
