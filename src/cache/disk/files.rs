//! The file system, as the disk cache uses it.

use std::{
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Advice, FallocateFlags, Mode, OFlags};

use super::replace::sync_folder;

/// A folder of files.
pub(crate) trait Files: std::fmt::Debug + Send + Sync {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates a file of `length` zeros whose space is allocated. If the name is taken, the old file is lost.
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn BlockFile>>;
    /// Opens a file for reads and writes of whole blocks.
    fn open(&self, name: &str) -> io::Result<Arc<dyn BlockFile>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Waits until removals are on disk.
    fn sync(&self) -> io::Result<()>;
}

/// A file that is read and written in whole blocks, at aligned offsets, from aligned memory.
pub(crate) trait BlockFile: std::fmt::Debug + Send + Sync {
    fn length(&self) -> io::Result<u64>;
    /// Reads until the buffer is full or the file ends; returns the number of bytes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// Files of the operating system.
#[derive(Debug)]
pub(crate) struct SystemFiles {
    folder: PathBuf,
    /// Whether the file system supports `O_DIRECT`.
    is_direct: bool,
    is_read_only: bool,
}

impl SystemFiles {
    /// The files of `folder`, which exists.
    pub(crate) fn new(folder: &Path) -> Self {
        let is_direct = supports_direct(folder);
        if !is_direct {
            tracing::info!(directory = %folder.display(), "the file system has no O_DIRECT; the disk cache uses the page cache");
        }
        Self { folder: folder.to_owned(), is_direct, is_read_only: false }
    }

    /// The files of `folder`, to be read only.
    pub(crate) fn reading(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), is_direct: false, is_read_only: true }
    }

    fn open_file(&self, name: &str, options: &mut std::fs::OpenOptions) -> io::Result<SystemFile> {
        if self.is_direct {
            options.custom_flags(OFlags::DIRECT.bits().cast_signed());
        }
        let file = options
            .read(true)
            .write(!self.is_read_only)
            .mode(0o600)
            .open(self.folder.join(name))?;
        Ok(SystemFile { file, is_direct: self.is_direct })
    }
}

/// The names of everything in a folder.
pub(super) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let names = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// Opens a file with `O_DIRECT` to find out.
fn supports_direct(folder: &Path) -> bool {
    let path = folder.join("direct.tmp");
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).is_ok();
    let _ = std::fs::remove_file(path);
    opened
}

impl Files for SystemFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        names(&self.folder)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn BlockFile>> {
        let made = self.open_file(name, std::fs::OpenOptions::new().create(true).truncate(true))?;
        let allocated = match rustix::fs::fallocate(&made.file, FallocateFlags::empty(), 0, length)
        {
            // Some file systems cannot allocate in advance.
            Err(rustix::io::Errno::OPNOTSUPP) => made.file.set_len(length),
            allocated => allocated.map_err(Into::into),
        };
        if let Err(error) = allocated {
            let _ = self.remove(name);
            return Err(error);
        }
        Ok(Arc::new(made))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BlockFile>> {
        Ok(Arc::new(self.open_file(name, &mut std::fs::OpenOptions::new())?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_folder(&self.folder)
    }
}

#[derive(Debug)]
struct SystemFile {
    file: std::fs::File,
    is_direct: bool,
}

impl SystemFile {
    /// Without `O_DIRECT`, drops the pages from the page cache: the memory cache is a better use of that memory.
    fn drop_pages(&self, offset: u64, length: usize) {
        if !self.is_direct {
            let length = std::num::NonZero::new(length as u64);
            let _ = rustix::fs::fadvise(&self.file, offset, length, Advice::DontNeed);
        }
    }
}

impl BlockFile for SystemFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.drop_pages(offset, read);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.drop_pages(offset, bytes.len());
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}
