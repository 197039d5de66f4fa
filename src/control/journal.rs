//! The on-disk history of invalidations: one JSON line per invalidation.
//!
//! A line is either on disk when [`Journal::append`] returns, or absent. Damage loses only the damaged
//! lines: it neither hides other lines nor prevents Forebay from serving.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::invalidation::Invalidation;

/// The file's name in the state folder.
const FILE: &str = "invalidations.jsonl";

/// Maximum number of files with damaged lines that are kept.
const DAMAGED: usize = 100;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// The open file handle, if any.
    file: Option<File>,
    /// Whether the file ends in a partial line.
    is_torn: bool,
}

impl Journal {
    /// Opens the journal in `folder` and reads it, oldest line first.
    ///
    /// # Errors
    /// If the folder cannot be used at all. A full disk is not such an error.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<Invalidation>)> {
        let path = folder.join(FILE);
        let text = match std::fs::create_dir_all(folder).and_then(|()| std::fs::read(&path)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) if is_transient(&error) => {
                tracing::error!(file = %path.display(), %error, "the history of invalidations cannot be read");
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let (lines, damaged) = read(&text);
        let is_torn = text.last().is_some_and(|byte| *byte != b'\n');
        let mut journal = Self { path, file: None, is_torn };
        if let Err(error) = journal.file() {
            if !is_transient(&error) {
                return Err(error);
            }
            tracing::error!(file = %journal.path.display(), %error, "the history of invalidations cannot be written");
        }
        if !damaged.is_empty() {
            journal.repair(&lines, &damaged);
        }
        Ok((journal, lines))
    }

    /// Appends a line, which is on disk when this returns. On an error the file is unchanged.
    pub(super) fn append(&mut self, invalidation: &Invalidation) -> io::Result<()> {
        let line = line(invalidation)?;
        let is_torn = self.is_torn;
        let file = self.file()?;
        let end = file.metadata()?.len();
        // End a partial line first.
        let start: &[u8] = if is_torn { b"\n" } else { b"" };
        let written = file
            .write_all(start)
            .and_then(|()| file.write_all(&line))
            .and_then(|()| file.sync_data());
        self.is_torn = match &written {
            Ok(()) => false,
            Err(_) => file.set_len(end).is_err() || is_torn,
        };
        if written.is_err() {
            // The state of this handle is unknown, so the next append reopens the file.
            self.file = None;
        }
        written
    }

    /// Opens the file again with the next line.
    pub(super) fn reopen(&mut self) {
        self.file = None;
    }

    /// Replaces the file with one that has only these lines.
    pub(super) fn rewrite(&mut self, lines: &[Invalidation]) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        for invalidation in lines {
            file.write_all(&line(invalidation)?)?;
        }
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        // An open handle still refers to the old file.
        (self.file, self.is_torn) = (None, false);
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Saves a copy of the damaged lines, then removes them from the file.
    fn repair(&mut self, lines: &[Invalidation], damaged: &[u8]) {
        let repaired = self.keep(damaged).and_then(|kept| self.rewrite(lines).map(|()| kept));
        match repaired {
            Ok(kept) => tracing::warn!(
                file = %self.path.display(),
                bytes = damaged.len(),
                kept = %kept.display(),
                "removed damaged lines from the history of invalidations"
            ),
            Err(error) => tracing::error!(
                file = %self.path.display(), %error,
                "the history of invalidations has damaged lines, which are ignored"
            ),
        }
    }

    /// Writes the damaged lines to a new file.
    fn keep(&self, damaged: &[u8]) -> io::Result<PathBuf> {
        let name = |number: usize| match number {
            1 => self.path.with_extension("damaged"),
            more => self.path.with_extension(format!("damaged-{more}")),
        };
        for path in (1..=DAMAGED).map(name) {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    let written = file.write_all(damaged).and_then(|()| file.sync_all());
                    if written.is_err() {
                        let _ = std::fs::remove_file(&path);
                    }
                    return written.map(|()| path);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("there are already too many files with damaged lines: delete some"))
    }

    /// A journal at another path.
    #[cfg(test)]
    pub(super) fn at(path: &str) -> Self {
        Self { path: path.into(), file: None, is_torn: false }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().append(true).create(true).open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }
}

/// Whether an I/O error may go away without a configuration change.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded | Kind::ReadOnlyFilesystem)
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Splits the text into well-formed lines and the bytes of all others.
fn read(text: &[u8]) -> (Vec<Invalidation>, Vec<u8>) {
    let (mut lines, mut damaged) = (Vec::new(), Vec::new());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match serde_json::from_slice::<Invalidation>(line) {
            Ok(invalidation) if line.ends_with(b"\n") => lines.push(invalidation),
            _ if line.trim_ascii().is_empty() => {}
            _ => damaged.extend_from_slice(line),
        }
    }
    (lines, damaged)
}

fn line(invalidation: &Invalidation) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(invalidation)?;
    line.push(b'\n');
    Ok(line)
}
