//! Turns log files that are complete, or that a process left behind, into finished ones, in a thread of its own: the writer of
//! the log must not wait for it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use super::parquet_file::ParquetFile;

/// Files that may wait. A later hour takes up further ones.
const WAITING: usize = 4096;

/// An unfinished file. It is locked, so that no other process takes it up.
pub(super) struct Unfinished {
    pub(super) file: File,
    /// Its path, which ends in `.part`.
    pub(super) path: PathBuf,
}

/// A thread that finishes files. It begins with the first one.
#[derive(Default)]
pub(super) struct Finisher(Option<(SyncSender<Unfinished>, JoinHandle<()>)>);

impl Finisher {
    /// Finishes a file soon.
    pub(super) fn add(&mut self, unfinished: Unfinished) -> io::Result<()> {
        let sender = match &self.0 {
            Some((sender, _)) => sender,
            None => {
                let (sender, files) = sync_channel(WAITING);
                let thread = std::thread::Builder::new().name("log-finisher".into());
                let thread = thread.spawn(move || run(&files))?;
                &self.0.insert((sender, thread)).0
            }
        };
        match sender.try_send(unfinished) {
            // A later hour takes it up.
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(io::Error::other("the thread has ended")),
        }
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
    for Unfinished { file, path } in files {
        if let Err(error) = finish(file, &path) {
            let path = path.display().to_string();
            tracing::error!(%error, path, "cannot finish an access log file; it is tried again in an hour");
        }
    }
}

/// Copies the whole lines of a file to a finished one, and removes it.
fn finish(unfinished: File, path: &Path) -> io::Result<()> {
    let finished = path.with_extension("");
    let copy = path.with_extension("copy");
    let mut lines = BufReader::new(GzDecoder::new(unfinished));
    let mut output = Output::create(&finished, &copy)?;
    let mut line = Vec::new();
    // What was not flushed before a crash is missing, so the end may be no valid gzip.
    while lines.read_until(b'\n', &mut line).is_ok() && line.last() == Some(&b'\n') {
        output.add(&line)?;
        line.clear();
    }
    output.finish()?;
    std::fs::rename(&copy, finished)?;
    std::fs::remove_file(path)
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
