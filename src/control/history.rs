//! Past invalidations, for callers that look one up or repeat a request.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;

use super::{invalidation::Invalidation, journal::Journal};

/// Maximum number of invalidations kept.
pub(super) const MAX_ENTRIES: usize = 10_000;

/// The outcome of adding an invalidation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    New(Arc<Invalidation>),
    /// The same invalidation was added before.
    Known(Arc<Invalidation>),
    /// A different invalidation has the same reference.
    Contradicts,
}

/// The most recent invalidations, oldest first. They are also on disk if there is a state folder.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Arc<Invalidation>>,
    journal: Option<Journal>,
}

impl History {
    /// Loads the history from `folder`.
    ///
    /// # Errors
    /// If the folder cannot be used at all.
    pub(super) fn open(folder: Option<&Path>) -> io::Result<Self> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let (mut journal, lines) = Journal::open(folder)?;
        let mut entries = newest_of_each(lines);
        if entries.len() > MAX_ENTRIES {
            entries.drain(..entries.len() - MAX_ENTRIES);
            if let Err(error) = journal.rewrite(&entries) {
                tracing::warn!(%error, "the history of invalidations cannot be shortened");
            }
        }
        let entries = entries.into_iter().map(Arc::new).collect();
        Ok(Self(Mutex::new(Inner { entries, journal: Some(journal) })))
    }

    /// The outcome of [`Self::add`] if the invalidation's reference is already known.
    pub(super) fn earlier(&self, invalidation: &Invalidation) -> Option<Added> {
        self.0.lock().earlier(invalidation)
    }

    /// Adds an invalidation unless its reference is known. It is on disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written. It is then not added.
    pub(super) fn add(&self, invalidation: Invalidation) -> io::Result<Added> {
        let mut inner = self.0.lock();
        if let Some(earlier) = inner.earlier(&invalidation) {
            return Ok(earlier);
        }
        inner.write(&invalidation)?;
        let added = Arc::new(invalidation);
        inner.entries.push_back(Arc::clone(&added));
        if inner.entries.len() > MAX_ENTRIES {
            inner.entries.pop_front();
        }
        Ok(Added::New(added))
    }

    /// Updates an invalidation. The update is on disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written. The update is then kept in memory only.
    pub(super) fn amend(&self, amended: Invalidation) -> io::Result<Arc<Invalidation>> {
        let amended = Arc::new(amended);
        let mut inner = self.0.lock();
        let place = inner.entries.iter().rposition(|entry| entry.id == amended.id);
        if let Some(entry) = place.and_then(|place| inner.entries.get_mut(place)) {
            *entry = Arc::clone(&amended);
        }
        inner.write(&amended)?;
        Ok(amended)
    }

    /// Adds or updates an invalidation of another node.
    ///
    /// # Errors
    /// If it cannot be written. It is then kept in memory only.
    pub(super) fn merge(&self, other: &Invalidation) -> io::Result<()> {
        let mut inner = self.0.lock();
        match inner.entries.iter().rposition(|entry| entry.id == other.id) {
            Some(place) if *inner.entries[place] == *other => return Ok(()),
            Some(place) => inner.entries[place] = Arc::new(other.clone()),
            None => {
                // They are in the order in which they were created.
                let place = inner.entries.partition_point(|entry| entry.created <= other.created);
                inner.entries.insert(place, Arc::new(other.clone()));
                if inner.entries.len() > MAX_ENTRIES {
                    inner.entries.pop_front();
                }
            }
        }
        inner.write(other)
    }

    /// Opens the file again with the next entry.
    pub(super) fn reopen(&self) {
        if let Some(journal) = &mut self.0.lock().journal {
            journal.reopen();
        }
    }

    pub(super) fn find(&self, distribution: &str, id: &str) -> Option<Arc<Invalidation>> {
        let inner = self.0.lock();
        let found =
            inner.entries.iter().rev().find(|e| e.distribution == distribution && e.id == id);
        found.cloned()
    }

    /// The newest invalidations of all distributions, newest first.
    pub(super) fn recent(&self, most: usize) -> Vec<Arc<Invalidation>> {
        self.0.lock().entries.iter().rev().take(most).cloned().collect()
    }

    /// The invalidations of a distribution after `marker`, newest first: at most `most`, and whether there are
    /// more. `None` if the marker is unknown.
    pub(super) fn list(
        &self,
        distribution: &str,
        marker: Option<&str>,
        most: usize,
    ) -> Option<(Vec<Arc<Invalidation>>, bool)> {
        let inner = self.0.lock();
        let mut newest =
            inner.entries.iter().rev().filter(|entry| entry.distribution == distribution);
        if let Some(marker) = marker {
            newest.find(|entry| entry.id == marker)?;
        }
        let page = newest.by_ref().take(most).cloned().collect();
        Some((page, newest.next().is_some()))
    }
}

impl Inner {
    fn earlier(&self, invalidation: &Invalidation) -> Option<Added> {
        let same = |known: &&Arc<Invalidation>| {
            known.distribution == invalidation.distribution
                && known.caller_reference == invalidation.caller_reference
        };
        let known = self.entries.iter().rev().find(same)?;
        Some(if known.items == invalidation.items {
            Added::Known(Arc::clone(known))
        } else {
            Added::Contradicts
        })
    }

    fn write(&mut self, invalidation: &Invalidation) -> io::Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.append(invalidation))
    }
}

/// Keeps the last line for each invalidation: a later line updates an earlier one.
fn newest_of_each(lines: Vec<Invalidation>) -> Vec<Invalidation> {
    let (mut entries, mut places) = (Vec::<Invalidation>::new(), HashMap::new());
    for line in lines {
        match places.get(&line.id) {
            Some(place) => entries[*place] = line,
            None => {
                places.insert(line.id.clone(), entries.len());
                entries.push(line);
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::control::invalidation::Elsewhere;

    fn invalidation(number: u64) -> Invalidation {
        Invalidation {
            id: format!("I{number}"),
            distribution: "media".into(),
            created: number,
            caller_reference: format!("reference {number}"),
            items: vec![format!("/{number}")],
            elsewhere: None,
        }
    }

    fn ids(page: &[Arc<Invalidation>]) -> Vec<&str> {
        page.iter().map(|entry| entry.id.as_str()).collect()
    }

    /// The path of a history file with three invalidations.
    fn three(folder: &Path) -> PathBuf {
        let history = History::open(Some(folder)).expect("opened");
        for number in 1..=3 {
            assert!(matches!(history.add(invalidation(number)), Ok(Added::New(_))));
        }
        folder.join("invalidations.jsonl")
    }

    fn all(history: &History) -> Vec<String> {
        let (page, _) = history.list("media", None, 10).expect("a page");
        page.iter().map(|entry| entry.id.clone()).collect()
    }

    #[test]
    fn a_restart_forgets_nothing_but_damaged_lines() {
        let folder = tempfile::tempdir().expect("folder");
        let path = three(folder.path());
        let mut text = std::fs::read(&path).expect("text");
        // A flipped bit in the second line, and a torn line at the end.
        let second = text.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        text[second] ^= 1;
        text.extend_from_slice(b"{\"id\":\"I4\",\"distri");
        for number in 1..=2 {
            std::fs::write(&path, &text).expect("written");
            let history = History::open(Some(folder.path())).expect("opened");
            assert_eq!(all(&history), ["I3", "I1"]);
            let kept = if number == 1 { "damaged".to_owned() } else { format!("damaged-{number}") };
            let kept = std::fs::read(path.with_extension(kept)).expect("kept");
            assert!(kept.starts_with(&text[second..second + 10]) && kept.ends_with(b"distri"));
            assert!(matches!(history.add(invalidation(5)), Ok(Added::New(_))));
            let history = History::open(Some(folder.path())).expect("opened");
            assert_eq!(all(&history), ["I5", "I3", "I1"]);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_repaired_serves() {
        let folder = tempfile::tempdir().expect("folder");
        let path = three(folder.path());
        let mut text = std::fs::read(&path).expect("text");
        text.extend_from_slice(b"{\"id\":\"I4\",\"distri");
        std::fs::write(&path, &text).expect("written");
        // A non-empty folder cannot be replaced by a rename.
        for number in 1..=101 {
            let name = if number == 1 { "damaged".to_owned() } else { format!("damaged-{number}") };
            std::fs::create_dir(path.with_extension(name)).expect("in the way");
        }
        let history = History::open(Some(folder.path())).expect("opened");
        assert!(matches!(history.add(invalidation(5)), Ok(Added::New(_))));
        let history = History::open(Some(folder.path())).expect("opened");
        assert_eq!(all(&history), ["I5", "I3", "I2", "I1"]);
    }

    #[test]
    fn what_cannot_be_written_is_not_added() {
        let folder = tempfile::tempdir().expect("folder");
        let path = three(folder.path());
        let history = History::open(Some(folder.path())).expect("opened");
        let before = std::fs::read(&path).expect("text");
        // A device that is always full.
        let full = History(Mutex::new(Inner {
            entries: std::mem::take(&mut history.0.lock().entries),
            journal: Some(Journal::at("/dev/full")),
        }));
        assert!(full.add(invalidation(4)).is_err());
        assert_eq!(all(&full), ["I3", "I2", "I1"]);
        assert_eq!(std::fs::read(&path).expect("text"), before);
    }

    #[test]
    fn what_became_of_one_is_remembered() {
        let folder = tempfile::tempdir().expect("folder");
        let history = History::open(Some(folder.path())).expect("opened");
        for number in 1..=3 {
            assert!(history.add(invalidation(number)).is_ok());
        }
        let (distribution, id) = ("E1".to_owned(), "I9".to_owned());
        for is_completed in [false, true] {
            let (distribution, id) = (distribution.clone(), id.clone());
            let elsewhere = Some(Elsewhere { distribution, id, is_completed });
            let amended = history.amend(Invalidation { elsewhere, ..invalidation(2) });
            let status = if is_completed { "Completed" } else { "InProgress" };
            assert_eq!(amended.expect("amended").status(), status);
            let read = History::open(Some(folder.path())).expect("opened");
            for history in [&history, &read] {
                assert_eq!(history.find("media", "I2").expect("known").status(), status);
                assert_eq!(
                    ids(&history.list("media", None, 9).expect("page").0),
                    ["I3", "I2", "I1"]
                );
            }
        }
    }

    #[test]
    fn a_reference_is_one_invalidations() {
        let history = History::default();
        let first = invalidation(1);
        assert!(matches!(history.add(first.clone()), Ok(Added::New(_))));
        let again = Invalidation { id: "I2".into(), ..first.clone() };
        let known = history.add(again).expect("added");
        assert_eq!(known, Added::Known(Arc::new(first.clone())));
        let other = Invalidation { items: vec!["/other".into()], ..first.clone() };
        assert_eq!(history.add(other).expect("added"), Added::Contradicts);
        let elsewhere = Invalidation { distribution: "other".into(), ..first };
        assert!(matches!(history.add(elsewhere), Ok(Added::New(_))));
    }

    #[test]
    fn pages_follow_each_other() {
        let history = History::default();
        for number in 1..=5 {
            assert!(history.add(invalidation(number)).is_ok());
        }
        let page = |marker| {
            let (page, more) = history.list("media", marker, 2).expect("a page");
            (ids(&page).join(" "), more)
        };
        assert_eq!(page(None), ("I5 I4".into(), true));
        assert_eq!(page(Some("I4")), ("I3 I2".into(), true));
        assert_eq!(page(Some("I2")), ("I1".into(), false));
        assert_eq!(page(Some("I1")), (String::new(), false));
        assert_eq!(history.list("media", Some("I9"), 2), None);
    }
}
