//! A quick measurement of a device.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path, time::Duration};

use rustix::fs::{Mode, OFlags};

use super::{aligned::AlignedBuffer, layout::BLOCK};
use crate::base::clock::Stopwatch;

/// Bytes of a write, like those of the cache.
const WRITE: usize = 1 << 20;
const WRITES: u32 = 32;

/// Bytes of a read: 64 KiB, about one image.
const READ: usize = 16 * BLOCK;
const READS: u64 = 64;

/// How fast a device is, without the page cache.
#[derive(Clone, Copy, Debug)]
pub struct DiskSpeed {
    /// Bytes written in a second.
    pub written: f64,
    /// The median time of a read of 64 KiB.
    pub read: Duration,
}

impl DiskSpeed {
    /// Measures with a file of 32 MiB that has no name and is gone afterwards.
    ///
    /// # Errors
    /// If the file system has no `O_TMPFILE` or `O_DIRECT`, or the device fails.
    pub fn measure(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?);
        let mut buffer = AlignedBuffer::zeroed(WRITE);
        fastrand::fill(buffer.bytes_mut());
        let watch = Stopwatch::start();
        for index in 0..WRITES {
            file.write_all_at(buffer.bytes(), u64::from(index) * WRITE as u64)?;
        }
        file.sync_data()?;
        let written = f64::from(WRITES) * f64::from(1 << 20) / watch.elapsed().as_secs_f64();
        let mut times = Vec::new();
        for _ in 0..READS {
            let at = fastrand::u64(..u64::from(WRITES) * (WRITE / READ) as u64) * READ as u64;
            let watch = Stopwatch::start();
            file.read_exact_at(&mut buffer.bytes_mut()[..READ], at)?;
            times.push(watch.elapsed());
        }
        times.sort_unstable();
        Ok(Self { written, read: times[times.len() / 2] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_remains() {
        let folder = tempfile::tempdir().expect("folder");
        if let Ok(speed) = DiskSpeed::measure(folder.path()) {
            assert!(speed.written > 0.0 && speed.read > Duration::ZERO);
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
    }
}
