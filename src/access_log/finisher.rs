//! Finishes log files on a separate thread: those that are complete, and those that an earlier process left unfinished.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use super::parquet_file::ParquetFile;

/// The most files that wait. Further ones are retried at the next full hour.
const WAITING: usize = 1024;

/// A file to finish. Its path ends in `.part`.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// A file that this process has closed. It is locked, so that no other process finishes it.
    Closed(File, PathBuf),
    /// A file that an earlier process may have left in the middle of a line.
    Leftover(PathBuf),
}

/// A thread that finishes files. It starts with the first one.
#[derive(Default)]
pub(super) struct Finisher(Option<(SyncSender<Unfinished>, JoinHandle<()>)>);

impl Finisher {
    /// Finishes a file soon.
    pub(super) fn add(&mut self, unfinished: Unfinished) -> io::Result<()> {
        let sent = self.sender()?.try_send(unfinished);
        match sent {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                Err(io::Error::other("too many files wait; it is retried at the next full hour"))
            }
            // A panic ended the thread.
            Err(TrySendError::Disconnected(unfinished)) => {
                self.wait();
                self.sender()?.try_send(unfinished).map_err(io::Error::other)
            }
        }
    }

    fn sender(&mut self) -> io::Result<&SyncSender<Unfinished>> {
        if self.0.is_none() {
            let (sender, files) = sync_channel(WAITING);
            let thread = std::thread::Builder::new().name("log-finisher".into());
            self.0 = Some((sender, thread.spawn(move || run(&files))?));
        }
        self.0.as_ref().map(|(sender, _)| sender).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Waits until all files are finished.
    pub(super) fn wait(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            // A panic is in the log already.
            let _ = thread.join();
        }
    }
}

fn run(files: &Receiver<Unfinished>) {
    for unfinished in files {
        let (path, finished) = match unfinished {
            Unfinished::Closed(file, path) => {
                let finished = finish(file, &path, true);
                (path, finished)
            }
            Unfinished::Leftover(path) => {
                let finished = finish_leftover(&path);
                (path, finished)
            }
        };
        if let Err(error) = finished {
            let path = path.display().to_string();
            tracing::error!(
                %error,
                path,
                "cannot finish an access log file; it is retried at the next full hour"
            );
        }
    }
}

/// Finishes the file of an earlier process, unless that process still runs or another one is finishing it.
fn finish_leftover(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    // Another process may have finished and removed it before it was locked here.
    let is_there = || std::fs::metadata(path).is_ok_and(|now| Some(now.ino()) == ino(&file));
    if file.try_lock().is_ok() && is_there() { finish(file, path, false) } else { Ok(()) }
}

fn ino(file: &File) -> Option<u64> {
    file.metadata().ok().map(|metadata| metadata.ino())
}

/// Copies the complete lines of a file to a finished one, and removes it.
fn finish(unfinished: File, path: &Path, is_closed: bool) -> io::Result<()> {
    let copy = path.with_extension("copy");
    let copied = copy_lines(unfinished, path, &copy, is_closed);
    if !matches!(copied, Ok(1..)) {
        // It may be incomplete, and the disk may be full.
        let _ = std::fs::remove_file(&copy);
    }
    if copied? > 0 {
        std::fs::rename(&copy, path.with_extension(""))?;
    }
    std::fs::remove_file(path)
}

/// Returns the number of lines copied.
fn copy_lines(unfinished: File, path: &Path, copy: &Path, is_closed: bool) -> io::Result<u64> {
    let mut lines = BufReader::new(GzDecoder::new(unfinished));
    let mut output = Output::create(&path.with_extension(""), copy)?;
    let (mut line, mut count) = (Vec::new(), 0);
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(_) if line.last() == Some(&b'\n') => output.add(&line)?,
            Ok(_) => break,
            // Lines that were not flushed before a crash are missing, so the end may be no valid gzip.
            Err(error) if !is_closed && is_torn(&error) => break,
            Err(error) => return Err(error),
        }
        count += 1;
    }
    output.finish()?;
    Ok(count)
}

fn is_torn(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

enum Output {
    Gzip(Box<GzEncoder<File>>),
    Parquet(Box<ParquetFile>),
}

impl Output {
    fn create(finished: &Path, copy: &Path) -> io::Result<Self> {
        Ok(if finished.extension().is_some_and(|it| it == "parquet") {
            Self::Parquet(Box::new(ParquetFile::create(copy)?))
        } else {
            Self::Gzip(Box::new(GzEncoder::new(File::create(copy)?, Compression::default())))
        })
    }

    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(file) => file.write_all(line),
            Self::Parquet(file) => file.add(line),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Gzip(file) => file.finish()?.sync_all(),
            Self::Parquet(file) => file.finish(),
        }
    }
}
