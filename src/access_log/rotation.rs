//! Log files by distribution and hour, named like CloudFront's: `ID.YYYY-MM-DD-HH.unique.gz` or `.parquet`, in one directory or
//! in those that Hive takes for partitions: `DistributionId=ID/year=YYYY/month=MM/day=DD/hour=HH/`.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};

use super::{
    Format, LogFile, Options, PARTITIONS,
    cloudfront::HEAD,
    finisher::{Finisher, Unfinished},
};
use crate::base::clock::{Clock, Timestamp};

/// How long after the end of an hour its lines may still arrive.
const LATE: Duration = Duration::from_secs(60);

/// Maximum time that lines stay in the compressor, where a power cut would lose them.
const UNFLUSHED: Duration = Duration::from_secs(5);

/// The separator between a distribution's name, the hour and the line.
pub(super) const SEPARATOR: u8 = 0;

/// The file name for requests that matched no distribution.
const NO_DISTRIBUTION: &str = "none";

/// The log files that are open for writing.
pub(super) struct Rotation {
    folder: PathBuf,
    has_hive_directories: bool,
    kind: FileKind,
    /// The size in bytes of text at which a file is finished.
    longest: u64,
    /// The open files by distribution and hour.
    files: HashMap<(String, String), Growing>,
    clock: Clock,
    flushed: Timestamp,
    /// The hour in which the files of earlier processes were last looked for.
    recovered_hour: String,
    finisher: Finisher,
}

/// The file extension and the first lines of a format's files.
#[derive(Clone, Copy)]
struct FileKind {
    extension: &'static str,
    head: &'static str,
}

impl FileKind {
    fn of(format: Option<Format>) -> Self {
        let extension = if format == Some(Format::CloudFrontV2Parquet) { "parquet" } else { "gz" };
        Self { extension, head: if format == Some(Format::CloudFrontV1) { HEAD } else { "" } }
    }
}

struct Growing {
    file: GzEncoder<File>,
    path: PathBuf,
    length: u64,
    /// The rest of a line that the compressor accepted only in part before the disk was full.
    rest: Vec<u8>,
}

impl Rotation {
    pub(super) fn open(folder: &Path, options: &Options) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let clock = Clock::system();
        let now = clock.now();
        let hour = hour_of(now.as_secs());
        let mut finisher = Finisher::default();
        recover_leftovers(folder, options.hive_directories, &hour, &mut finisher)?;
        Ok(Self {
            folder: folder.to_owned(),
            has_hive_directories: options.hive_directories,
            recovered_hour: hour,
            kind: FileKind::of(options.format),
            longest: options.max_file_size,
            files: HashMap::new(),
            clock,
            flushed: now,
            finisher,
        })
    }

    /// Writes lines, each after its distribution's name and its hour. Returns the number lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        let lost = lines.split_inclusive(|byte| *byte == b'\n').filter(|line| {
            let written = self.write_one(line);
            written.is_err()
        });
        lost.count() as u64
    }

    fn write_one(&mut self, line: &[u8]) -> io::Result<()> {
        let mut parts = line.splitn(3, |byte| *byte == SEPARATOR);
        let mut next = || parts.next().unwrap_or_default();
        let (name, hour, line) = (next(), next(), next());
        let (Ok(name), Ok(hour)) = (std::str::from_utf8(name), std::str::from_utf8(hour)) else {
            return Ok(());
        };
        let name = if name.is_empty() { NO_DISTRIBUTION } else { name };
        self.append(name, hour.replace('\t', "-"), line)
    }

    fn append(&mut self, name: &str, hour: String, line: &[u8]) -> io::Result<()> {
        let place = (name.to_owned(), hour);
        if !self.files.contains_key(&place) {
            let folder = self.folder_of(&place);
            std::fs::create_dir_all(&folder)?;
            self.files.insert(place.clone(), Growing::begin(&folder, &place, self.kind)?);
        }
        let Some(growing) = self.files.get_mut(&place) else { return Ok(()) };
        growing.write(line)?;
        if growing.length >= self.longest
            && let Some(full) = self.files.remove(&place)
        {
            full.finish(&mut self.finisher)?;
        }
        Ok(())
    }

    /// The directory of a distribution's files of an hour.
    fn folder_of(&self, (name, hour): &(String, String)) -> PathBuf {
        let mut folder = self.folder.clone();
        if self.has_hive_directories {
            let values = std::iter::once(&**name).chain(hour.split('-'));
            folder
                .extend(PARTITIONS.iter().zip(values).map(|(key, value)| format!("{key}{value}")));
        }
        folder
    }

    /// Finishes the files of past hours, and flushes the others regularly.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        if now.since(self.flushed) < UNFLUSHED {
            return Ok(());
        }
        self.flushed = now;
        let hour = hour_of(now.as_secs().saturating_sub(LATE.as_secs()));
        let mut recovered = Ok(());
        if hour > self.recovered_hour {
            self.recovered_hour.clone_from(&hour);
            let (folder, hive) = (&self.folder, self.has_hive_directories);
            recovered = recover_leftovers(folder, hive, &hour, &mut self.finisher);
        }
        let over: Vec<_> = self.files.keys().filter(|(_, of)| *of < hour).cloned().collect();
        let over = over.iter().filter_map(|place| self.files.remove(place));
        let finished = first_error(over.map(|growing| growing.finish(&mut self.finisher)));
        let flushed = first_error(self.files.values_mut().map(|growing| growing.file.flush()));
        recovered.and(finished).and(flushed)
    }

    /// Closes all files. They are finished soon.
    pub(super) fn close_files(&mut self) -> io::Result<()> {
        let all = self.files.drain();
        first_error(all.map(|(_, growing)| growing.finish(&mut self.finisher)))
    }

    /// Finishes all files.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let closed = self.close_files();
        self.finisher.wait();
        closed
    }
}

/// Runs all operations, and returns the first error.
fn first_error(all: impl Iterator<Item = io::Result<()>>) -> io::Result<()> {
    all.fold(Ok(()), io::Result::and)
}

/// Finishes the files that earlier processes left unfinished in past hours.
fn recover_leftovers(
    folder: &Path,
    has_hive_directories: bool,
    hour: &str,
    finisher: &mut Finisher,
) -> io::Result<()> {
    let all = LogFile::all(folder, has_hive_directories)?;
    let left = all.into_iter().filter(|file| !file.is_finished && *file.hour < *hour);
    first_error(left.map(|left| finisher.add(Unfinished::Leftover(left.path))))
}

impl Growing {
    /// Creates a file of compressed text. Its name ends in `.part` until it is finished.
    fn begin(folder: &Path, (name, hour): &(String, String), kind: FileKind) -> io::Result<Self> {
        let unique = fastrand::u32(..);
        let path = folder.join(format!("{name}.{hour}.{unique:08x}.{}.part", kind.extension));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        // Until it is closed, no other process takes it up. A file system without locks has one process at a time.
        let _ = file.try_lock();
        let mut file = GzEncoder::new(file, Compression::default());
        file.write_all(kind.head.as_bytes())?;
        Ok(Self { file, path, length: 0, rest: Vec::new() })
    }

    /// Writes a line, after the rest of a partial line. On an error this line is lost.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.write_rest()?;
        let mut rest = line;
        let written = write_some(&mut self.file, &mut rest);
        if rest.len() == line.len() {
            return written;
        }
        self.length += line.len() as u64;
        // A partial line is completed later, so it is not lost.
        self.rest.extend_from_slice(rest);
        Ok(())
    }

    fn write_rest(&mut self) -> io::Result<()> {
        let taken = std::mem::take(&mut self.rest);
        let mut rest = &taken[..];
        let written = write_some(&mut self.file, &mut rest);
        self.rest.extend_from_slice(rest);
        written
    }

    fn finish(mut self, finisher: &mut Finisher) -> io::Result<()> {
        self.write_rest()?;
        let mut file = self.file.finish()?;
        file.sync_all()?;
        if self.path.with_extension("").extension().is_some_and(|it| it == "gz") {
            return std::fs::rename(&self.path, self.path.with_extension(""));
        }
        file.rewind()?;
        finisher.add(Unfinished::Closed(file, self.path))
    }
}

/// Writes as much of `rest` as the file accepts.
fn write_some(file: &mut impl Write, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => *rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The hour of a time in seconds since the epoch, as in file names.
fn hour_of(seconds: u64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day]-[hour]");
    let moment = i64::try_from(seconds).ok();
    let moment = moment.and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
    moment.and_then(|moment| moment.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use parquet::{
        file::reader::{FileReader as _, SerializedFileReader},
        record::Field,
    };

    use super::*;

    fn files(folder: &Path) -> Vec<(String, String)> {
        let read = |entry: io::Result<std::fs::DirEntry>| {
            let path = entry.expect("entry").path();
            let mut text = String::new();
            let file = File::open(&path).expect("file");
            GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
            let name = path.file_name().expect("name").to_string_lossy().into_owned();
            (name, text.strip_prefix(HEAD).expect("a head").to_owned())
        };
        let mut files: Vec<_> = std::fs::read_dir(folder).expect("folder").map(read).collect();
        files.sort();
        files
    }

    fn options(format: Format) -> Options {
        Options { format: Some(format), max_file_size: 50, ..Options::default() }
    }

    #[test]
    fn files_are_by_distribution_hour_and_length() {
        let folder = tempfile::tempdir().expect("folder");
        let mut rotation =
            Rotation::open(folder.path(), &options(Format::CloudFrontV1)).expect("opened");
        let lines = "a\x002026-11-24\t22\x002026-11-24\t22:59:59\tone\nb\x002026-11-24\t22\x002026-11-24\t22:59:59\ttwo\n\
                     a\x002026-11-24\t23\x002026-11-24\t23:00:00\tthree\na\x002026-11-24\t22\x002026-11-24\t22:59:59\tlate\n\
                     a\x002026-11-24\t22\x002026-11-24\t22:59:59\tfull\n\x002026-11-24\t22\x002026-11-24\t22:00:00\tnobody\n";
        assert_eq!(rotation.write(lines.as_bytes()), 0);
        assert_eq!(rotation.write(b"a\x002026-11-24\t22\x002026-11-24\t22:59:59\tmore\n"), 0);
        rotation.flushed = Timestamp::default();
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
    fn what_a_process_left_is_recovered_hour_when_its_hour_is_over() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        let (old, new) = ("a.b.2026-11-24-22.0a1b2c3d.gz", "a.b.2999-11-24-22.0a1b2c3d.gz");
        let locked = "a.2026-11-24-22.0a1b2c3d.gz";
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"one\ntwo\nthr").expect("written");
        encoder.flush().expect("flushed");
        for name in [format!("{old}.part"), format!("{new}.part"), format!("{locked}.part")] {
            std::fs::write(at(&name), encoder.get_ref()).expect("written");
        }
        // Of a process that still runs.
        let running = File::open(at(&format!("{locked}.part"))).expect("opened");
        running.lock().expect("locked");
        let mut rotation =
            Rotation::open(folder.path(), &options(Format::CloudFrontV1)).expect("opened");
        rotation.finish().expect("finished");
        let mut text = String::new();
        let rescued = File::open(at(old)).expect("a finished file");
        GzDecoder::new(rescued).read_to_string(&mut text).expect("whole gzip");
        assert_eq!(text, "one\ntwo\n");
        let there = [&format!("{old}.part"), new, locked].map(|name| at(name).exists());
        assert_eq!(there, [false; 3]);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let folder = tempfile::tempdir().expect("folder");
        let mut rotation =
            Rotation::open(folder.path(), &options(Format::CloudFrontV1)).expect("opened");
        std::fs::remove_dir(folder.path()).expect("removed");
        std::fs::write(folder.path(), "").expect("a file in its place");
        let line = "a\x002026-11-24\t22\x002026-11-24\t22:59:59\tone\n";
        assert_eq!(rotation.write(line.repeat(3).as_bytes()), 3);
    }

    #[test]
    fn hours_are_named_in_utc() {
        assert_eq!(hour_of(1_800_000_000), "2027-01-15-08");
    }

    #[test]
    fn directories_are_partitions() {
        let folder = tempfile::tempdir().expect("folder");
        let options = Options { hive_directories: true, ..options(Format::CloudFrontV2) };
        let mut rotation = Rotation::open(folder.path(), &options).expect("opened");
        assert_eq!(rotation.write(b"a\x002026-11-24\t22\x00{\"date\":\"2026-11-24\"}\n"), 0);
        let hour = folder.path().join("DistributionId=a/year=2026/month=11/day=24/hour=22");
        let unfinished = |folder: &Path| {
            let entry = std::fs::read_dir(folder).expect("folder").next().expect("a file");
            entry.expect("entry").path().extension().is_some_and(|it| it == "part")
        };
        assert!(unfinished(&hour));
        // Another process finds it there.
        drop(rotation);
        let mut rotation = Rotation::open(folder.path(), &options).expect("opened");
        rotation.finish().expect("finished");
        assert!(!unfinished(&hour));
    }

    #[test]
    fn parquet_has_whole_lines_as_rows() {
        let folder = tempfile::tempdir().expect("folder");
        let options = options(Format::CloudFrontV2Parquet);
        let line = |stem: u32| {
            let fields: Vec<String> = (0..33)
                .map(|place| if place == 7 { format!("/{stem}") } else { place.to_string() })
                .collect();
            format!("a\x002026-11-24\t22\x00{}\n", fields.join("\t"))
        };
        // What a crash left, with the beginning of a line.
        let path = folder.path().join("a.2026-11-24-21.0a1b2c3d.parquet.part");
        let mut encoder =
            GzEncoder::new(File::create(path).expect("created"), Compression::default());
        let text = line(5).replace("a\x002026-11-24\t22\x00", "");
        encoder.write_all(format!("{text}{}", &text[..20]).as_bytes()).expect("written");
        drop(encoder);
        let mut rotation = Rotation::open(folder.path(), &options).expect("opened");
        for stem in 0..5 {
            assert_eq!(rotation.write(line(stem).as_bytes()), 0);
        }
        rotation.finish().expect("finished");
        let mut stems = Vec::new();
        for entry in std::fs::read_dir(folder.path()).expect("folder") {
            let path = entry.expect("entry").path();
            assert!(path.extension().is_some_and(|it| it == "parquet"), "{path:?}");
            let reader =
                SerializedFileReader::new(File::open(path).expect("file")).expect("parquet");
            for row in reader.get_row_iter(None).expect("rows") {
                let row = row.expect("row");
                let columns: Vec<(&String, &Field)> = row.get_column_iter().collect();
                assert_eq!(
                    (columns.len(), columns[6].0.as_str(), columns[9].0.as_str()),
                    (33, "cs_host", "cs_referer")
                );
                assert_eq!(columns[32].1, &Field::Str("32".to_owned()));
                stems.push(columns[7].1.to_string());
            }
        }
        stems.sort();
        assert_eq!(stems, (0..6).map(|stem| format!("\"/{stem}\"")).collect::<Vec<_>>());
    }
}
