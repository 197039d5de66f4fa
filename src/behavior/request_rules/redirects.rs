//! Lists of redirects in files.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use http::StatusCode;

use super::{PathCondition, Redirect, Target};
use crate::{
    base::list_lines::{LineError, list_lines},
    cache::key::{CanonicalPath, PathForm},
};

/// A rule's list of redirects.
#[derive(Clone, Debug)]
pub(crate) struct Redirects {
    pub(crate) file: PathBuf,
    /// For lines without a status.
    pub(crate) redirect: Redirect,
    /// Empty until the file is read.
    pub(crate) list: Arc<RedirectList>,
}

/// Redirects by path.
#[derive(Clone, Debug, Default)]
pub(crate) struct RedirectList(HashMap<Box<str>, (Box<str>, Option<StatusCode>)>);

impl Redirects {
    /// The redirect for a path.
    pub(super) fn find(&self, path: &str) -> Option<(Redirect, &str)> {
        let (location, status) = self.list.0.get(path)?;
        let status = status.unwrap_or(self.redirect.status);
        Some((Redirect { status, ..self.redirect }, location))
    }
}

impl RedirectList {
    /// Maximum size of a file in bytes.
    pub(crate) const MAX_SIZE: u64 = 64 << 20;

    /// Parses a list. Empty lines and those that begin with `#` are ignored.
    ///
    /// # Errors
    /// For the first line that is not a path, a target and perhaps a status, and for a path that an earlier line has.
    pub(crate) fn parse(text: &str, form: PathForm) -> Result<Self, LineError> {
        let mut list = HashMap::new();
        for (number, line) in list_lines(text) {
            let refuse = |reason: String| LineError { line: number, reason };
            let (path, target) = parse_line(line, form).map_err(refuse)?;
            if list.insert(path.clone(), target).is_some() {
                return Err(refuse(format!("an earlier line has the path `{path}`, too")));
            }
        }
        Ok(Self(list))
    }
}

type Entry = (Box<str>, (Box<str>, Option<StatusCode>));

fn parse_line(line: &str, form: PathForm) -> Result<Entry, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (path, target, status) = match words[..] {
        [path, target] => (path, target, None),
        [path, target, status] => (path, target, Some(status)),
        _ => return Err("expected a path, a target, and perhaps a status".to_owned()),
    };
    let resolved = CanonicalPath::resolve(path, form);
    let resolved = resolved.map_err(|error| format!("`{path}`: {error}"))?;
    Target::of_redirect(target, &PathCondition::Any)
        .map_err(|error| format!("`{target}`: {error}"))?;
    if target == path {
        return Err(format!("`{path}` redirects to itself"));
    }
    if target.contains('{') {
        return Err(format!("`{target}`: a target in a file has no places for parts of the path"));
    }
    let status = status.map(|status| {
        let known = status.parse().ok().and_then(Redirect::status);
        known.ok_or_else(|| format!("`{status}` is not the status of a redirect"))
    });
    Ok((resolved.for_patterns().into(), (target.into(), status.transpose()?)))
}
