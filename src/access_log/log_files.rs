//! The files of CloudFront's formats: `ID.YYYY-MM-DD-HH.unique.gz` or `.parquet`, and the same with `.part` until they are finished.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The beginnings of the names of directories that Hive takes for partitions, the outermost first.
pub(crate) const PARTITIONS: [&str; 5] = ["DistributionId=", "year=", "month=", "day=", "hour="];

/// A file of CloudFront's formats.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogFile {
    /// When it was last written to.
    pub(crate) modified: SystemTime,
    pub(crate) path: PathBuf,
    /// Its length in bytes.
    pub(crate) length: u64,
    /// The hour of its lines, such as `2026-11-24-22`.
    pub(super) hour: String,
    pub(crate) is_finished: bool,
}

impl LogFile {
    /// The files in a directory and, if it has them, in the directories that Hive takes for partitions; the oldest first.
    /// Whatever else is there is ignored.
    pub(crate) fn all(folder: &Path, has_hive_directories: bool) -> io::Result<Vec<Self>> {
        let partitions: &[&str] = if has_hive_directories { &PARTITIONS } else { &[] };
        let mut found = Vec::new();
        collect(folder, partitions, &mut found)?;
        found.sort();
        Ok(found)
    }
}

fn collect(folder: &Path, partitions: &[&str], found: &mut Vec<LogFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // Another process may remove or rename what is listed.
        let kind = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            kind => kind?,
        };
        let inner = partitions.split_first().filter(|(prefix, _)| name.starts_with(**prefix));
        if let Some((_, rest)) = inner.filter(|_| kind.is_dir()) {
            match collect(&entry.path(), rest, found) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                collected => collected?,
            }
        } else if let Some((hour, is_finished)) = parse(name).filter(|_| kind.is_file()) {
            let (modified, path, hour) = (kind.modified()?, entry.path(), hour.to_owned());
            found.push(LogFile { modified, path, length: kind.len(), hour, is_finished });
        }
    }
    Ok(())
}

/// The hour of a file of this name, and whether it is finished. An id may contain dots.
fn parse(name: &str) -> Option<(&str, bool)> {
    let (name, is_finished) = match name.strip_suffix(".part") {
        Some(name) => (name, false),
        None => (name, true),
    };
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".parquet"))?;
    let mut parts = name.rsplitn(3, '.');
    let (unique, hour, id) = (parts.next()?, parts.next()?, parts.next()?);
    let is_unique = unique.len() == 8 && unique.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_hour = hour.len() == "2026-11-24-22".len()
        && hour.split('-').all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    (is_unique && is_hour && !id.is_empty()).then_some((hour, is_finished))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_those_of_other_programs() {
        for (name, expected) in [
            ("media.2026-11-24-22.0a1b2c3d.gz", Some(("2026-11-24-22", true))),
            ("a.b.2026-11-24-22.0a1b2c3d.gz.part", Some(("2026-11-24-22", false))),
            ("media.2026-11-24-22.0a1b2c3d.parquet", Some(("2026-11-24-22", true))),
            ("media.2026-11-24-22.0a1b2c3d.parquet.part", Some(("2026-11-24-22", false))),
            ("media.2026-11-24-22.0a1b2c3d.parquet.copy", None),
            ("access.log.2.gz", None),
            ("access.2026-11-24-22.gz", None),
            (".2026-11-24-22.0a1b2c3d.gz", None),
            ("media.2026-11-24-2x.0a1b2c3d.gz", None),
            ("media.2026-11-24-22.0a1b2c3d", None),
        ] {
            assert_eq!(parse(name), expected, "{name}");
        }
    }

    #[test]
    fn only_directories_of_partitions_are_entered() {
        let root = tempfile::tempdir().expect("a directory");
        let name = "a.2026-11-24-22.0a1b2c3d.gz";
        let hour = root.path().join("DistributionId=a/year=2026/month=11/day=24/hour=22");
        for folder in [&hour, &root.path().join("other"), &root.path().join("year=2026")] {
            fs::create_dir_all(folder).expect("created");
            fs::write(folder.join(name), "text").expect("written");
        }
        let all = |hive| {
            let files = LogFile::all(root.path(), hive).expect("read");
            files.into_iter().map(|file| (file.path, file.length)).collect::<Vec<_>>()
        };
        assert_eq!((all(true), all(false)), (vec![(hour.join(name), 4)], vec![]));
    }
}
