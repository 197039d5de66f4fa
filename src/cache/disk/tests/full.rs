//! Tests of a cache on a disk that others fill.

use super::*;

/// Without room for the first file, the cache waits for some.
#[tokio::test]
async fn a_disk_that_was_full_from_the_beginning_is_used_once_it_has_room() {
    let folder = tempfile::tempdir().expect("folder");
    let files = Arc::new(SimulatedFiles::new(folder.path(), 1));
    files.set_faults(Faults { full: 1000, ..Faults::default() });
    let disk = open_on(folder.path(), Arc::<SimulatedFiles>::clone(&files), keys(None));
    for key in 0..20 {
        disk.write(record(key, 1, 100));
        disk.flush().await;
    }
    assert!(disk.usage().is_in_use);
    assert!(!disk.make_space().await, "there is nothing to remove");
    files.set_faults(Faults::default());
    disk.write(record(1, 2, 100));
    disk.write(record(1, 2, 100));
    disk.flush().await;
    assert!(disk.has(digest(1)));
    assert!(disk.make_space().await && !disk.has(digest(1)));
}

/// What others need of the disk is no reason to lose everything at once.
#[tokio::test]
async fn a_full_disk_makes_the_cache_smaller() {
    let folder = tempfile::tempdir().expect("folder");
    let files = Arc::new(SimulatedFiles::new(folder.path(), 1));
    let none = EncryptionKeys::default();
    let disk = open_on(folder.path(), Arc::<SimulatedFiles>::clone(&files), none);
    for key in 0..60 {
        disk.write(record(key, 1, 10_000));
        disk.flush().await;
    }
    files.set_faults(Faults { full: 1000, ..Faults::default() });
    for key in 60..80 {
        disk.write(record(key, 1, 10_000));
    }
    disk.flush().await;
    let state = disk.usage();
    assert!(state.entries > 10 && state.is_in_use, "{state:?}");
    files.set_faults(Faults::default());
    for key in 80..90 {
        disk.write(record(key, 1, 10_000));
        disk.write(record(key, 1, 10_000));
        disk.flush().await;
    }
    assert!(disk.has(digest(89)), "it goes on");
}

/// Files give way until the log can say which versions were replaced.
#[tokio::test]
async fn a_full_disk_does_not_end_the_cache_or_bring_back_old_versions() {
    let folder = tempfile::tempdir().expect("folder");
    let files = Arc::new(SimulatedFiles::new(folder.path(), 1));
    let disk = open_on(folder.path(), Arc::<SimulatedFiles>::clone(&files), keys(None));
    for key in 0..60 {
        disk.write(record(key, 1, 10_000));
    }
    disk.flush().await;
    files.set_faults(Faults { full: 1000, ..Faults::default() });
    for version in 2..40 {
        for key in 0..60 {
            disk.write(record(key, version, 10_000));
            disk.forget(digest(key));
        }
        disk.flush().await;
    }
    assert!(disk.usage().is_in_use);
    let copy = tempfile::tempdir().expect("folder");
    fs::copy(folder.path().join("super"), copy.path().join("super")).expect("copied");
    let files = Arc::new(files.after_kill(copy.path()));
    disk.close();
    let disk = open_on(copy.path(), files, keys(None));
    recovered(&disk).await;
    assert_eq!(disk.usage().entries, 0);
    disk.write(record(1, 40, 10_000));
    disk.flush().await;
    assert!(disk.has(digest(1)), "it goes on");
}
