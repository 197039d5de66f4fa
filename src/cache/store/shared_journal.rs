//! The journal of purges while one process takes over from another.

use std::{
    future, io,
    sync::{Arc, OnceLock},
};

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use super::{
    predecessor::{Predecessor, TIMEOUT, TIMEOUT_IN_CHAIN},
    purge_entry::{PurgeChange, PurgeEntry},
    purge_floors::PurgeFloors,
    purge_journal::{Applied, PurgeJournal},
};

/// The process that writes the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// This process.
    Own,
    /// The next process. It sends the entries to this one, too.
    Successor,
    /// The next process. This one also gets the entries from its cluster, and keeps them in memory only.
    Cluster,
}

/// A journal whose file passes from one process to the next.
///
/// While it is paused, entries wait. After that, they are written by this process, or by the next one.
#[derive(Debug)]
pub(super) struct SharedJournal {
    inner: Arc<dyn PurgeJournal>,
    floors: Arc<PurgeFloors>,
    /// Locked for reading until an entry is applied, and for writing while the journal is paused.
    writer: Arc<RwLock<Writer>>,
    predecessor: OnceLock<Predecessor>,
}

/// A journal to which nothing is added until this is dropped.
pub(crate) struct PausedJournal(OwnedRwLockWriteGuard<Writer>);

impl PausedJournal {
    /// Leaves the journal to the next process.
    pub(super) fn hand_over(mut self, is_in_cluster: bool) {
        *self.0 = if is_in_cluster { Writer::Cluster } else { Writer::Successor };
    }
}

impl SharedJournal {
    pub(super) fn new(inner: Arc<dyn PurgeJournal>, floors: Arc<PurgeFloors>) -> Self {
        let (writer, predecessor) = (Arc::new(RwLock::new(Writer::Own)), OnceLock::new());
        Self { inner, floors, writer, predecessor }
    }

    /// Waits until all entries are written that were added so far; later ones wait.
    pub(super) async fn pause(&self) -> PausedJournal {
        let paused = PausedJournal(Arc::clone(&self.writer).write_owned().await);
        // A caller may have been canceled, and its entry still be on its way to the file.
        let _ = self.inner.add(Vec::new()).await.await;
        paused
    }

    /// Writes again after a pause in which another process may have replaced the file.
    pub(super) fn resume(&self, paused: PausedJournal) {
        self.inner.replace_file();
        drop(paused);
    }

    /// From now on, entries are in force once the predecessor has them, too.
    pub(super) fn set_predecessor(&self, predecessor: Predecessor) {
        // A process has one predecessor.
        let _ = self.predecessor.set(predecessor);
    }

    /// Applies entries of the successor, here and in the predecessor.
    pub(super) async fn apply_of_successor(&self, entries: &[PurgeEntry]) {
        for entry in entries {
            // What is stored here may have positions above those of the successor, if that has another log.
            let position = entry.position.max(self.floors.newest().next());
            self.floors.apply(&PurgeEntry { position, change: entry.change.clone() });
        }
        if let Some(predecessor) = self.predecessor.get() {
            let sent = predecessor.send(entries.to_vec()).await;
            predecessor.confirmed(sent, TIMEOUT_IN_CHAIN).await;
        }
    }

    /// The entries that concern other processes: the beginning of a log concerns only the store that it is for.
    fn shared(entries: &[PurgeEntry]) -> Vec<PurgeEntry> {
        let is_shared = |entry: &&PurgeEntry| matches!(entry.change, PurgeChange::Purge { .. });
        entries.iter().filter(is_shared).cloned().collect()
    }
}

impl PurgeJournal for SharedJournal {
    #[expect(
        clippy::async_yields_async,
        reason = "the order and the outcome are awaited separately"
    )]
    fn add(&self, entries: Vec<PurgeEntry>) -> BoxFuture<'_, Applied> {
        Box::pin(async move {
            let writer = Arc::clone(&self.writer).read_owned().await;
            match *writer {
                Writer::Own => {}
                Writer::Successor => {
                    let error = io::Error::other("another process has taken over");
                    return Box::pin(future::ready(Err(error))) as Applied;
                }
                Writer::Cluster => {
                    for entry in &entries {
                        self.floors.apply(entry);
                    }
                    return Box::pin(future::ready(Ok(()))) as Applied;
                }
            }
            let predecessor = self.predecessor.get().cloned();
            let sent = match &predecessor {
                Some(predecessor) => Some(predecessor.send(Self::shared(&entries)).await),
                None => None,
            };
            let applied = self.inner.add(entries).await;
            Box::pin(async move {
                let outcome = applied.await;
                if let (Some(predecessor), Some(sent)) = (predecessor, sent) {
                    predecessor.confirmed(sent, TIMEOUT).await;
                }
                drop(writer);
                outcome
            }) as Applied
        })
    }

    fn make_space(&self) -> BoxFuture<'_, bool> {
        self.inner.make_space()
    }

    fn close(&self) {
        self.inner.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::mpsc, time::timeout};

    use super::*;
    use crate::cache::store::{
        LogPosition, Purge, PurgeChange, PurgeMode, purge_journal::MemoryPurgeJournal,
    };

    const MOMENT: Duration = Duration::from_millis(20);

    fn journal() -> SharedJournal {
        let floors = Arc::new(PurgeFloors::default());
        let inner = Arc::new(MemoryPurgeJournal(Arc::clone(&floors)));
        SharedJournal::new(inner, floors)
    }

    fn entry(number: u64) -> PurgeEntry {
        let (purge, mode) = (Purge::Prefix("/".into()), PurgeMode::Hard);
        let change = PurgeChange::Purge { distribution: "media".into(), purge, mode };
        PurgeEntry { position: LogPosition::new(1, number), change }
    }

    async fn add(journal: &SharedJournal, number: u64) -> io::Result<()> {
        journal.add(vec![entry(number)]).await.await
    }

    #[tokio::test]
    async fn entries_wait_during_a_pause() {
        let journal = journal();
        add(&journal, 1).await.expect("added");
        let paused = journal.pause().await;
        let mut waiting = std::pin::pin!(add(&journal, 2));
        assert!(timeout(MOMENT, &mut waiting).await.is_err());
        assert_eq!(journal.floors.newest().number(), 1);
        journal.resume(paused);
        waiting.await.expect("added");
        assert_eq!(journal.floors.newest().number(), 2);
    }

    #[tokio::test]
    async fn a_pause_waits_for_entries() {
        let journal = journal();
        let adding = journal.add(vec![entry(1)]).await;
        assert!(timeout(MOMENT, journal.pause()).await.is_err());
        adding.await.expect("added");
        assert!(timeout(MOMENT, journal.pause()).await.is_ok());
    }

    #[tokio::test]
    async fn after_it_was_handed_over_only_a_cluster_adds_entries() {
        for is_in_cluster in [false, true] {
            let journal = journal();
            journal.pause().await.hand_over(is_in_cluster);
            assert_eq!(add(&journal, 1).await.is_ok(), is_in_cluster);
            assert_eq!(journal.floors.newest().number(), u64::from(is_in_cluster));
        }
    }

    #[tokio::test]
    async fn entries_of_a_successor_with_another_log_are_above_all_positions() {
        let journal = journal();
        let floors = &journal.floors;
        let change = entry(1).change;
        floors.apply(&PurgeEntry { position: LogPosition::new(7, 3), change });
        let before = floors.newest();
        journal.apply_of_successor(&[entry(1)]).await;
        assert!(floors.newest() > before);
    }

    #[tokio::test]
    async fn entries_are_complete_once_the_predecessor_has_them() {
        let journal = journal();
        let (sender, mut predecessor) = mpsc::channel(1);
        journal.set_predecessor(Predecessor::new(sender, 0, |_| {}));
        let mut waiting = std::pin::pin!(add(&journal, 1));
        assert!(timeout(MOMENT, &mut waiting).await.is_err());
        let (entries, confirm) = predecessor.recv().await.expect("sent");
        assert_eq!(entries, [entry(1)]);
        confirm.send(()).expect("awaited");
        waiting.await.expect("added");
        // One that has ended is not waited for.
        drop(predecessor);
        add(&journal, 2).await.expect("added");
    }
}
