//! Removes the directories of delivered files.

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::access_log::PARTITIONS;

/// How long a directory stays empty before it is removed. The access log's writer may be about to use a newer one.
const EMPTY: Duration = Duration::from_hours(2);

/// Removes the partitions below `root` that have been empty for a while.
pub(super) fn remove_empty_directories(root: &Path, now: SystemTime) -> io::Result<()> {
    remove(root, now).map(drop)
}

/// Removes what is empty below a directory. Returns whether nothing is left in it.
fn remove(folder: &Path, now: SystemTime) -> io::Result<bool> {
    let mut is_empty = true;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_partition = entry.file_name().to_str().is_some_and(is_partition);
        let path = entry.path();
        let is_removed = is_partition
            && entry.file_type()?.is_dir()
            && remove(&path, now).unwrap_or(false)
            && is_old(&path, now)
            // It fails if the writer has created a file in it.
            && fs::remove_dir(&path).is_ok();
        is_empty &= is_removed;
    }
    Ok(is_empty)
}

fn is_old(path: &Path, now: SystemTime) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > EMPTY))
}

fn is_partition(name: &str) -> bool {
    PARTITIONS.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;

    #[test]
    fn only_old_partitions_are_removed() {
        let root = tempfile::tempdir().expect("a directory");
        let at = |name: &str| root.path().join(name);
        for name in ["DistributionId=a/year=2026", "DistributionId=b", "other"] {
            fs::create_dir_all(at(name)).expect("created");
        }
        fs::write(at("DistributionId=b/file"), "").expect("written");
        let now = SystemTime::from(Clock::system().now());
        let left = |now| {
            remove_empty_directories(root.path(), now).expect("read");
            ["DistributionId=a", "DistributionId=b", "other"].map(|name| at(name).exists())
        };
        assert_eq!(left(now), [true; 3]);
        assert!(at("DistributionId=a/year=2026").exists());
        let _ = left(now + 2 * EMPTY);
        assert_eq!(left(now + 2 * EMPTY), [false, true, true]);
    }
}
