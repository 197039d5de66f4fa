//! Reads the files that rules name.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Error;
use crate::{
    access::passwords::Users,
    behavior::{RedirectList, RuleFiles},
    cache::key::PathForm,
};

/// Reads the files that rules name, each once.
#[derive(Default)]
pub(super) struct FilesOfRules {
    redirects: HashMap<(PathBuf, PathForm), Arc<RedirectList>>,
    users: HashMap<PathBuf, Arc<Users>>,
}

impl RuleFiles for FilesOfRules {
    type Error = Error;

    fn redirects(&mut self, file: &Path, form: PathForm) -> Result<Arc<RedirectList>, Error> {
        once(&mut self.redirects, (file.to_owned(), form), || {
            let refuse = |source| refused("redirects_file", file, source);
            let text = read(file, RedirectList::MAX_SIZE).map_err(refuse)?;
            RedirectList::parse(&text, form).map_err(|error| refuse(io::Error::other(error)))
        })
    }

    fn users(&mut self, file: &Path) -> Result<Arc<Users>, Error> {
        once(&mut self.users, file.to_owned(), || {
            let refuse = |source| refused("basic_auth.users_file", file, source);
            let text = read(file, Users::MAX_SIZE).map_err(refuse)?;
            let users = Users::parse(&text).map_err(|error| refuse(io::Error::other(error)))?;
            if users.is_empty() {
                return Err(refuse(io::Error::other("it has no users")));
            }
            Ok(users)
        })
    }
}

fn once<K: Eq + Hash, V>(
    known: &mut HashMap<K, Arc<V>>,
    key: K,
    read: impl FnOnce() -> Result<V, Error>,
) -> Result<Arc<V>, Error> {
    match known.entry(key) {
        Entry::Occupied(known) => Ok(Arc::clone(known.get())),
        Entry::Vacant(place) => Ok(Arc::clone(place.insert(Arc::new(read()?)))),
    }
}

fn read(file: &Path, max_size: u64) -> io::Result<String> {
    if std::fs::metadata(file)?.len() > max_size {
        return Err(io::Error::other(format!("it is larger than {} MiB", max_size >> 20)));
    }
    std::fs::read_to_string(file)
}

fn refused(key: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { key, path: path.to_owned(), source }
}
