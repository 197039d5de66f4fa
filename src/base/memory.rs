//! The memory that this process can still get.

use std::{fs, path::Path};

/// Bytes that this process can still get, within the limits of the machine and of its control groups. `None` if they are
/// unknown.
#[must_use]
pub(crate) fn available() -> Option<u64> {
    let machine = of_machine("MemAvailable")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let folders = Path::new(group).ancestors();
    let left = folders.filter_map(|folder| {
        let folder = Path::new("/sys/fs/cgroup").join(folder);
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let statistics = read("memory.stat")?;
        // The system gives these back first.
        let files = statistics.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
        let used = number("memory.current")?.saturating_sub(files.parse().ok()?);
        Some(number("memory.max")?.saturating_sub(used))
    });
    left.chain([machine]).min()
}

/// Bytes in an entry of `/proc/meminfo`.
pub(crate) fn of_machine(entry: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(entry)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn some_memory_is_available() {
        assert!(super::available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
