//! Log files by distribution and hour, compressed, named as CloudFront names them:
//! `ID.YYYY-MM-DD-HH.unique.gz`.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};

use super::cloudfront::HEAD;
use crate::clock::Clock;

/// Lines of an hour may come for so long after its end.
const LATE: Duration = Duration::from_secs(60);

/// What stands between the name of a distribution and its line.
pub(super) const SEPARATOR: u8 = 0;

/// Name of the files of requests that no distribution answered.
const NOBODY: &str = "none";

/// Characters of a line by which its hour is told: `YYYY-MM-DD`, a tab, `HH`.
const HOUR: usize = 13;

/// Files under way.
pub(super) struct Rotation {
    folder: PathBuf,
    /// Bytes of text after which a file is finished.
    longest: u64,
    /// By distribution and hour.
    files: HashMap<(String, String), Growing>,
    clock: Clock,
}

struct Growing {
    file: GzEncoder<File>,
    path: PathBuf,
    length: u64,
}

impl Rotation {
    pub(super) fn open(folder: &Path, longest: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let clock = Clock::system();
        Ok(Self { folder: folder.to_owned(), longest, files: HashMap::new(), clock })
    }

    /// Writes lines, each with the name of its distribution before it.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let Some(at) = line.iter().position(|byte| *byte == SEPARATOR) else { continue };
            let (name, line) = (&line[..at], &line[at + 1..]);
            let (Ok(name), Some(hour)) = (std::str::from_utf8(name), line.get(..HOUR)) else {
                continue;
            };
            let name = if name.is_empty() { NOBODY } else { name };
            let hour = String::from_utf8_lossy(hour).replace('\t', "-");
            self.append(name, hour, line)?;
        }
        Ok(())
    }

    fn append(&mut self, name: &str, hour: String, line: &[u8]) -> io::Result<()> {
        let place = (name.to_owned(), hour);
        if !self.files.contains_key(&place) {
            self.files.insert(place.clone(), Growing::begin(&self.folder, &place)?);
        }
        let Some(growing) = self.files.get_mut(&place) else { return Ok(()) };
        growing.file.write_all(line)?;
        growing.length += line.len() as u64;
        if growing.length >= self.longest
            && let Some(full) = self.files.remove(&place)
        {
            full.finish()?;
        }
        Ok(())
    }

    /// Finishes the files of hours that are over.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let late = self.clock.now().as_secs().saturating_sub(LATE.as_secs());
        let hour = hour_of(late);
        let over: Vec<_> = self.files.keys().filter(|(_, of)| *of < hour).cloned().collect();
        over.iter().filter_map(|place| self.files.remove(place)).try_for_each(Growing::finish)
    }

    /// Finishes all files.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.files.drain().map(|(_, growing)| growing).try_for_each(Growing::finish)
    }
}

impl Growing {
    /// Until it is finished, a file is known by another ending.
    fn begin(folder: &Path, (name, hour): &(String, String)) -> io::Result<Self> {
        let path = folder.join(format!("{name}.{hour}.{:08x}.gz", fastrand::u32(..)));
        let file = OpenOptions::new().write(true).create_new(true).open(unfinished(&path))?;
        let mut file = GzEncoder::new(file, Compression::default());
        file.write_all(HEAD.as_bytes())?;
        Ok(Self { file, path, length: 0 })
    }

    fn finish(self) -> io::Result<()> {
        self.file.finish()?.sync_all()?;
        std::fs::rename(unfinished(&self.path), &self.path)
    }
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("gz.part")
}

/// The hour of a moment, in seconds since the epoch, as files name it.
fn hour_of(seconds: u64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day]-[hour]");
    let moment = i64::try_from(seconds).ok();
    let moment = moment.and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
    moment.and_then(|moment| moment.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn files(folder: &Path) -> Vec<(String, String)> {
        let read = |entry: io::Result<std::fs::DirEntry>| {
            let path = entry.expect("entry").path();
            let mut text = String::new();
            let file = File::open(&path).expect("file");
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
            let name = path.file_name().expect("name").to_string_lossy().into_owned();
            (name, text.strip_prefix(HEAD).expect("a head").to_owned())
        };
        let mut files: Vec<_> = std::fs::read_dir(folder).expect("folder").map(read).collect();
        files.sort();
        files
    }

    #[test]
    fn files_are_by_distribution_hour_and_length() {
        let folder = tempfile::tempdir().expect("folder");
        let mut rotation = Rotation::open(folder.path(), 50).expect("opened");
        let lines = "a\x002026-11-24\t22:59:59\tone\nb\x002026-11-24\t22:59:59\ttwo\n\
                     a\x002026-11-24\t23:00:00\tthree\na\x002026-11-24\t22:59:59\tlate\n\
                     a\x002026-11-24\t22:59:59\tfull\n\x002026-11-24\t22:00:00\tnobody\n";
        rotation.write(lines.as_bytes()).expect("written");
        rotation.write(b"a\x002026-11-24\t22:59:59\tmore\n").expect("written");
        rotation.turn().expect("turned");
        rotation.finish().expect("finished");
        let mut found: Vec<(String, String)> = files(folder.path())
            .into_iter()
            .map(|(name, text)| {
                let parts: Vec<&str> = name.split('.').collect();
                assert_eq!((parts.len(), parts[3]), (4, "gz"), "{name}");
                let words = text.lines().map(|line| line.rsplit('\t').next().unwrap_or_default());
                (parts[..2].join("."), words.collect::<Vec<_>>().join(" "))
            })
            .collect();
        let mut expected = [
            ("a.2026-11-24-22", "one late full"),
            ("a.2026-11-24-22", "more"),
            ("a.2026-11-24-23", "three"),
            ("b.2026-11-24-22", "two"),
            ("none.2026-11-24-22", "nobody"),
        ]
        .map(|(name, words)| (name.to_owned(), words.to_owned()));
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn hours_are_named_in_utc() {
        assert_eq!(hour_of(1_800_000_000), "2027-01-15-08");
    }
}
