//! The HTML report file.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Seek, Write},
    path::Path,
};

use super::UserError;

/// The HTML report file, opened before the run so that no run is wasted. Old content stays until there is a
/// report; a new file without one is removed.
pub(super) struct HtmlFile<'a> {
    path: &'a Path,
    file: File,
    is_empty: bool,
}

impl<'a> HtmlFile<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, UserError> {
        let mut options = OpenOptions::new();
        options.write(true);
        let (opened, is_empty) = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (options.open(path), false),
            opened => (opened, true),
        };
        let file = opened.map_err(|error| cannot_write(path, &error))?;
        Ok(Self { path, file, is_empty })
    }

    pub(super) fn write(mut self, page: &str) -> Result<(), UserError> {
        self.is_empty = false;
        self.replace(page).map_err(|error| cannot_write(self.path, &error))
    }

    fn replace(&mut self, text: &str) -> io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for HtmlFile<'_> {
    fn drop(&mut self) {
        if self.is_empty {
            // The file is empty, and `drop` cannot report an error.
            let _ = std::fs::remove_file(self.path);
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> UserError {
    UserError {
        message: format!("cannot write `{}`: {error}", path.display()),
        help: "pass --html a file in an existing, writable directory".into(),
    }
}
