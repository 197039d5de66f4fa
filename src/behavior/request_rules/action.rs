//! What a rule does with a request.

use std::path::Path;

use super::{Redirect, Redirects, RuleEnd, RuleInput, Target, captured::Captured, target::encode};
use crate::{behavior::PathPattern, cache::key::PathForm};

/// What a rule does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Redirects the viewer.
    Redirect(Redirect, Target),
    /// Redirects the viewer to the same path with a trailing slash, or without it.
    TrailingSlash(Redirect, TrailingSlash),
    /// Redirects the viewer if a list has the path.
    Redirects(Redirects),
    /// Gives the cache and the origin another path.
    Rewrite(Target),
    /// Gives the cache and the origin the path of this object in the folder, if the path has no file name with a dot.
    DirectoryIndex(String),
    /// Refuses the request.
    Deny,
}

/// What a path's end should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrailingSlash {
    /// A slash, unless the last segment has a dot.
    Add,
    /// No slash.
    Remove,
}

impl Action {
    /// What becomes of a request; `None` if the action does not concern its path.
    pub(super) fn take(&self, input: &RuleInput<'_>, captures: &Captured<'_>) -> Option<RuleEnd> {
        match self {
            Self::Redirect(redirect, target) => {
                let location = target.fill(input.path, input.form, captures);
                redirect.to(location, target.has_query, input)
            }
            Self::TrailingSlash(redirect, slash) => {
                redirect.to(slash.applied_to(input.path, input.form)?, false, input)
            }
            Self::Redirects(redirects) => {
                let (redirect, location) = redirects.find(input.path)?;
                redirect.to(location.to_owned(), location.contains('?'), input)
            }
            Self::Rewrite(_) | Self::DirectoryIndex(_) => {
                self.rewrite(input.path, input.form, captures).map(RuleEnd::Rewrite)
            }
            Self::Deny => Some(RuleEnd::Deny),
        }
    }

    /// The path in the form of a URL, if the action rewrites it.
    pub(super) fn rewrite(
        &self,
        path: &str,
        form: PathForm,
        captures: &Captured<'_>,
    ) -> Option<String> {
        match self {
            Self::Rewrite(target) => Some(target.fill(path, form, captures)),
            Self::DirectoryIndex(object) => {
                let slash = if path.ends_with('/') { "" } else { "/" };
                let mut url = String::new();
                encode(path, form, &mut url);
                url.push_str(slash);
                encode(object, form, &mut url);
                (path.ends_with('/') || has_no_dot(path)).then_some(url)
            }
            _ => None,
        }
    }

    /// A pattern for the paths that the action rewrites to.
    pub(super) fn pattern(&self) -> Option<PathPattern> {
        match self {
            Self::Rewrite(target) => target.pattern(),
            Self::DirectoryIndex(object) => PathPattern::parse(&format!("*/{object}")).ok(),
            _ => None,
        }
    }

    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Redirects(redirects) => Some(&redirects.file),
            _ => None,
        }
    }

    /// What the action does, in words.
    pub(super) const fn describe(&self) -> &'static str {
        match self {
            Self::Redirect(..) | Self::TrailingSlash(..) => "redirects",
            Self::Redirects(_) => "redirects, because its file has the path",
            Self::Rewrite(_) | Self::DirectoryIndex(_) => "rewrites the path",
            Self::Deny => "refuses the request",
        }
    }
}

impl TrailingSlash {
    fn applied_to(self, path: &str, form: PathForm) -> Option<String> {
        let mut url = String::new();
        let other = match self {
            Self::Add => (!path.ends_with('/') && has_no_dot(path)).then_some(path)?,
            Self::Remove => path.strip_suffix('/').filter(|rest| !rest.is_empty())?,
        };
        encode(&format!("/{}", other.trim_start_matches('/')), form, &mut url);
        if self == Self::Add {
            url.push('/');
        }
        Some(url)
    }
}

/// Whether the last segment of a path looks like that of a page, not like the name of a file.
fn has_no_dot(path: &str) -> bool {
    path.rsplit('/').next().is_none_or(|last| !last.contains('.'))
}
