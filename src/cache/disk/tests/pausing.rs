//! A disk cache whose directory passes to another process, and comes back.

use super::*;

async fn pause(disk: &Arc<Disk>) {
    let disk = Arc::clone(disk);
    tokio::task::spawn_blocking(move || disk.pause()).await.expect("paused");
}

async fn found(disk: &Disk, key: u64) -> Option<u64> {
    let (loaded, _) = disk.read(digest(key), &key.to_le_bytes()).await?;
    Some(version(key, &loaded))
}

#[tokio::test]
async fn what_comes_during_a_pause_is_written_after_it() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = open(folder.path());
    for key in 1..=3 {
        disk.write(record(key, 1, 1_000));
    }
    pause(&disk).await;
    assert_eq!(found(&disk, 1).await, Some(1), "it is read during the pause");
    disk.write(record(1, 2, 1_000));
    disk.forget(digest(2));
    // Another process opens the directory, and ends before it serves.
    let other = open(folder.path());
    recovered(&other).await;
    assert_eq!((found(&other, 1).await, found(&other, 3).await), (Some(1), Some(1)));
    other.write(record(4, 1, 1_000));
    drop(other);
    disk.resume().expect("the directory is free");
    disk.flush().await;
    assert_eq!(found(&disk, 1).await, Some(2));
    drop(disk);
    let next = open(folder.path());
    recovered(&next).await;
    let versions = [found(&next, 1).await, found(&next, 2).await, found(&next, 3).await];
    assert_eq!(versions, [Some(2), None, Some(1)]);
}

#[tokio::test]
async fn a_directory_that_was_left_is_not_written() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = open(folder.path());
    disk.write(record(1, 1, 1_000));
    pause(&disk).await;
    disk.write(record(1, 2, 1_000));
    let next = open(folder.path());
    disk.leave();
    disk.write(record(1, 3, 1_000));
    drop(disk);
    recovered(&next).await;
    assert_eq!(found(&next, 1).await, Some(1));
    next.write(record(1, 4, 1_000));
    next.flush().await;
    assert_eq!(found(&next, 1).await, Some(4));
}

#[tokio::test]
async fn a_directory_that_another_process_keeps_is_not_written() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = open(folder.path());
    pause(&disk).await;
    let other = open(folder.path());
    assert!(matches!(disk.resume(), Err(FolderError::InUse(_))));
    disk.write(record(1, 1, 1_000));
    drop(disk);
    assert!(!other.has(digest(1)));
}
