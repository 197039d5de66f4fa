//! The invalidations there were: for those who ask about them, and for those who ask twice.

use std::{
    collections::{HashMap, VecDeque},
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// As many are remembered.
const MOST: usize = 10_000;

/// The file in the state folder: one invalidation a line, in JSON.
const FILE: &str = "invalidations.jsonl";

/// What an invalidation is at CloudFront, where it was created, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Elsewhere {
    pub(super) distribution: String,
    pub(super) id: String,
    pub(super) is_completed: bool,
}

/// One invalidation. It is complete here from the moment it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Invalidation {
    pub(super) id: String,
    pub(super) distribution: String,
    /// In milliseconds since the epoch.
    pub(super) created: u64,
    pub(super) caller_reference: String,
    pub(super) items: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) elsewhere: Option<Elsewhere>,
}

impl Invalidation {
    /// In CloudFront's words; complete once it is so everywhere.
    pub(super) fn status(&self) -> &'static str {
        let waits = self.elsewhere.as_ref().is_some_and(|elsewhere| !elsewhere.is_completed);
        if waits { "InProgress" } else { "Completed" }
    }
}

/// What became of an invalidation that was to be added.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    New(Arc<Invalidation>),
    /// The same was asked for before.
    Known(Arc<Invalidation>),
    /// Something else was asked for by the same reference.
    Contradicts,
}

/// The newest invalidations, the oldest first; on disk too where there is a folder for it.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: Mutex<VecDeque<Arc<Invalidation>>>,
    file: Option<Mutex<File>>,
}

impl History {
    /// Reads what is in `folder`. A damaged end of the file is cut off, and kept beside it.
    pub(super) fn open(folder: Option<&Path>) -> io::Result<Self> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        std::fs::create_dir_all(folder)?;
        let path = folder.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let (mut entries, good) = read(&text);
        if good < text.len() {
            let damaged = path.with_extension("damaged");
            std::fs::write(&damaged, &text[good..])?;
            tracing::warn!(
                file = %path.display(),
                bytes = text.len() - good,
                kept = %damaged.display(),
                "the end of the invalidations' history is damaged and was cut off"
            );
        }
        let surplus = entries.len().saturating_sub(MOST);
        entries.drain(..surplus);
        if good < text.len() || surplus > 0 {
            replace(&path, &entries)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let entries = Mutex::new(entries.into_iter().map(Arc::new).collect());
        Ok(Self { entries, file: Some(Mutex::new(file)) })
    }

    /// Adds an invalidation unless its reference is known; on disk when this returns.
    pub(super) fn add(&self, invalidation: Invalidation) -> io::Result<Added> {
        let mut entries = self.entries.lock();
        let same = |known: &&Arc<Invalidation>| {
            known.distribution == invalidation.distribution
                && known.caller_reference == invalidation.caller_reference
        };
        if let Some(known) = entries.iter().rev().find(same) {
            return Ok(if known.items == invalidation.items {
                Added::Known(Arc::clone(known))
            } else {
                Added::Contradicts
            });
        }
        let added = Arc::new(invalidation);
        entries.push_back(Arc::clone(&added));
        if entries.len() > MOST {
            entries.pop_front();
        }
        drop(entries);
        self.append(&added)?;
        Ok(Added::New(added))
    }

    /// Remembers what became of an invalidation; on disk when this returns.
    pub(super) fn amend(&self, amended: Invalidation) -> io::Result<Arc<Invalidation>> {
        let amended = Arc::new(amended);
        let mut entries = self.entries.lock();
        let place = entries.iter().rposition(|entry| entry.id == amended.id);
        if let Some(entry) = place.and_then(|place| entries.get_mut(place)) {
            *entry = Arc::clone(&amended);
        }
        drop(entries);
        self.append(&amended)?;
        Ok(amended)
    }

    fn append(&self, invalidation: &Invalidation) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = file.lock();
        file.write_all(&line(invalidation)?)?;
        file.sync_data()
    }

    pub(super) fn find(&self, distribution: &str, id: &str) -> Option<Arc<Invalidation>> {
        let entries = self.entries.lock();
        let found = entries.iter().rev().find(|e| e.distribution == distribution && e.id == id);
        found.cloned()
    }

    /// Those of a distribution after `marker`, the newest first: at most `most`, and whether there are
    /// more. `None` where the marker is unknown.
    pub(super) fn list(
        &self,
        distribution: &str,
        marker: Option<&str>,
        most: usize,
    ) -> Option<(Vec<Arc<Invalidation>>, bool)> {
        let entries = self.entries.lock();
        let mut newest = entries.iter().rev().filter(|entry| entry.distribution == distribution);
        if let Some(marker) = marker {
            newest.find(|entry| entry.id == marker)?;
        }
        let page = newest.by_ref().take(most).cloned().collect();
        Some((page, newest.next().is_some()))
    }
}

/// The invalidations of a file, and how many bytes of it are well formed.
fn read(text: &[u8]) -> (Vec<Invalidation>, usize) {
    let (mut entries, mut places, mut good) = (Vec::<Invalidation>::new(), HashMap::new(), 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let Ok(entry) = serde_json::from_slice::<Invalidation>(line) else { break };
        if !line.ends_with(b"\n") {
            break;
        }
        good += line.len();
        // What comes later of the same invalidation is what became of it.
        match places.get(&entry.id) {
            Some(place) => entries[*place] = entry,
            None => {
                places.insert(entry.id.clone(), entries.len());
                entries.push(entry);
            }
        }
    }
    (entries, good)
}

fn line(invalidation: &Invalidation) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(invalidation)?;
    line.push(b'\n');
    Ok(line)
}

/// Writes a file anew: beside the old one, which it replaces when it is on disk.
fn replace(path: &Path, entries: &[Invalidation]) -> io::Result<()> {
    let beside: PathBuf = path.with_extension("new");
    let mut file = File::create(&beside)?;
    for entry in entries {
        file.write_all(&line(entry)?)?;
    }
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_restart_forgets_nothing_and_a_damaged_end_is_cut() {
        let folder = tempfile::tempdir().expect("folder");
        let history = History::open(Some(folder.path())).expect("opened");
        for number in 1..=3 {
            assert!(matches!(history.add(invalidation(number)), Ok(Added::New(_))));
        }
        drop(history);
        let path = folder.path().join(FILE);
        let mut text = std::fs::read(&path).expect("text");
        text.extend_from_slice(b"{\"id\":\"I4\",\"distri");
        std::fs::write(&path, &text).expect("written");
        let history = History::open(Some(folder.path())).expect("opened");
        let (page, more) = history.list("media", None, 10).expect("a page");
        assert_eq!((ids(&page), more), (vec!["I3", "I2", "I1"], false));
        let kept = std::fs::read(path.with_extension("damaged")).expect("kept");
        assert_eq!(kept, b"{\"id\":\"I4\",\"distri");
        assert!(matches!(history.add(invalidation(5)), Ok(Added::New(_))));
        let history = History::open(Some(folder.path())).expect("opened");
        assert!(history.find("media", "I5").is_some() && history.find("media", "I4").is_none());
        assert!(history.find("other", "I5").is_none());
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
