//! Checks of the disk cache.

use std::{net::SocketAddr, path::Path, time::Duration};

use bytesize::ByteSize;

use super::{Checks, machine::running};
use crate::cache::{
    disk::{DiskOptions, DiskSpeed, Examined, FolderError, count, denied, existing},
    store::examine_disk,
};

/// A disk whose reads take longer is slow for a cache: under load, they wait for each other.
const SLOW_READ: Duration = Duration::from_millis(5);

/// Checks the directory of the disk cache, its space and its speed.
pub(super) fn examine(options: &DiskOptions, admin: Option<SocketAddr>) -> Checks {
    let mut checks = Checks::of("disk cache");
    let path = &options.path;
    // The directory is created at the start.
    let existing = existing(path);
    if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
        checks.bad(
            format!("{} cannot be written by this user", existing.display()),
            format!("{}; the systemd unit makes /var/cache/forebay", denied(path)),
        );
        return checks;
    }
    match examine_disk(options) {
        Err(error) => {
            checks.bad(error.to_string(), error.advice());
            return checks;
        }
        Ok(Examined::InUse) if admin.and_then(running).is_none() => {
            let error = FolderError::InUse(path.clone());
            checks.bad(error.to_string(), error.advice());
        }
        Ok(Examined::Unusable(why)) => checks.advise(
            format!("{}: Forebay would discard what is there, because {why}", path.display()),
            "correct that to keep it, or start Forebay with an empty cache",
        ),
        Ok(Examined::InUse | Examined::Cache(_) | Examined::New) => {}
    }
    if options.encryption_key_file.is_some() {
        checks.good("the encryption keys can be read");
    }
    let Ok(space) = rustix::fs::statvfs(existing) else { return checks };
    let (free, all) = (space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize);
    let used = count(path, |_, _| {}).map_or(0, |found| found.bytes);
    let text = format!(
        "{}: its files take {} of the capacity of {}; {} free on its file system",
        path.display(),
        ByteSize::b(used),
        ByteSize::b(options.capacity),
        ByteSize::b(free)
    );
    if options.capacity > all {
        checks.bad(text, "lower `cache.disk.capacity`, which is larger than the file system");
    } else if options.capacity > used + free {
        checks.advise(text, "free some space, or lower `cache.disk.capacity`: a cache without space carries on smaller");
    } else {
        checks.good(text);
    }
    // A running cache needs room for its next file.
    if free > 3 * options.segment {
        speed(&mut checks, existing);
    }
    checks
}

/// Measures the device of the disk cache.
fn speed(checks: &mut Checks, directory: &Path) {
    // File systems without `O_DIRECT` are skipped.
    let Ok(speed) = DiskSpeed::measure(directory) else { return };
    let text = format!(
        "its device writes {:.0} MB/s and reads 64 KiB in {:.1} ms",
        speed.written / 1e6,
        speed.read.as_secs_f64() * 1e3
    );
    if speed.read > SLOW_READ {
        checks.advise(
            text,
            "use a faster device: reads that take longer than 100 ms go to the bucket",
        );
    } else {
        checks.good(text);
    }
}
