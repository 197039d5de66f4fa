//! The finished files that have not been delivered.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The deepest directory in which the access log has files.
const LEVELS: usize = 5;

/// A finished file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaitingFile {
    pub(super) finished: SystemTime,
    pub(super) path: PathBuf,
    pub(super) length: u64,
}

/// How long a directory stays empty before it is removed. The access log's writer may be about to use a newer one.
const EMPTY: Duration = Duration::from_hours(2);

/// The finished files in a directory, the oldest first. Removes directories in it that are no longer used.
pub(super) fn waiting_files(folder: &Path, now: SystemTime) -> io::Result<Vec<WaitingFile>> {
    let mut found = Vec::new();
    collect(folder, LEVELS, now, &mut found)?;
    found.sort();
    Ok(found)
}

/// Adds the finished files. Returns whether there is anything in the directory.
fn collect(
    folder: &Path,
    levels: usize,
    now: SystemTime,
    found: &mut Vec<WaitingFile>,
) -> io::Result<bool> {
    let mut has_any = false;
    for entry in fs::read_dir(folder)? {
        has_any = true;
        let entry = entry?;
        let path = entry.path();
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Another process has delivered it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let modified = metadata.modified()?;
        if metadata.is_dir() && levels > 0 {
            let is_old = now.duration_since(modified).is_ok_and(|age| age > EMPTY);
            if !collect(&path, levels - 1, now, found)? && is_old {
                // It fails if the writer is faster.
                let _ = fs::remove_dir(&path);
            }
        } else if metadata.is_file() && path.extension() == Some(OsStr::new("gz")) {
            found.push(WaitingFile { finished: modified, path, length: metadata.len() });
        }
    }
    Ok(has_any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;

    #[test]
    fn finished_files_are_found_and_old_directories_removed() {
        let root = tempfile::tempdir().expect("a directory");
        let (used, empty) = (root.path().join("hour=22"), root.path().join("hour=21"));
        for folder in [&used, &empty] {
            fs::create_dir(folder).expect("created");
        }
        for name in ["a.gz", "b.gz.part", "c.txt"] {
            fs::write(used.join(name), name).expect("written");
        }
        let now = SystemTime::from(Clock::system().now());
        let names = |now| {
            let found = waiting_files(root.path(), now).expect("read");
            let name = |file: WaitingFile| (file.path, file.length);
            found.into_iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!((names(now), empty.exists()), (vec![(used.join("a.gz"), 4)], true));
        assert_eq!((names(now + 2 * EMPTY).len(), empty.exists(), used.exists()), (1, false, true));
    }
}
