//! Actions of rules.

use super::{
    BasicAuth, Redirect, Redirects, RuleAnswer, RuleEnd, RuleFiles, RuleInput, Target,
    captured::Captured, target::encode,
};
use crate::{behavior::PathPattern, cache::key::PathForm};

/// An action of a rule.
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
    /// Refuses the request unless it has the name and password of a user.
    BasicAuth(BasicAuth),
}

/// How paths should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrailingSlash {
    /// A slash, unless the last segment has a dot.
    Add,
    /// No slash.
    Remove,
}

impl Action {
    /// The end of the rules for a request; `None` if the action does not concern its path.
    pub(super) fn take(
        &self,
        (input, path): (&RuleInput<'_>, &str),
        captures: &Captured<'_>,
        depends_on_viewer: bool,
    ) -> Option<RuleEnd> {
        let (redirect, location) = match self {
            Self::Redirect(redirect, target) => {
                (*redirect, target.fill(path, input.form, captures))
            }
            Self::TrailingSlash(redirect, slash) => {
                (*redirect, slash.applied_to(path, input.form)?)
            }
            Self::Redirects(redirects) => {
                let (redirect, location) = redirects.find(path)?;
                (redirect, location.to_owned())
            }
            Self::Rewrite(_) | Self::DirectoryIndex(_) => {
                return self.rewrite(path, input.form, captures).map(RuleEnd::Rewrite);
            }
            Self::Deny | Self::BasicAuth(_) => return self.refusal(input).map(RuleEnd::Answer),
        };
        Some(RuleEnd::Answer(redirect.to(location, input, depends_on_viewer)))
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

    pub(super) const fn is_rewrite(&self) -> bool {
        matches!(self, Self::Rewrite(_) | Self::DirectoryIndex(_))
    }

    /// A pattern for the paths that the action rewrites to, unless they are in the folder of the request's path.
    pub(super) fn pattern(&self) -> Option<PathPattern> {
        match self {
            Self::Rewrite(target) => Some(target.pattern()),
            _ => None,
        }
    }

    /// The answer to a request that the action refuses.
    pub(super) fn refusal(&self, input: &RuleInput<'_>) -> Option<RuleAnswer> {
        match self {
            Self::Deny => Some(RuleAnswer::Deny),
            Self::BasicAuth(auth) => auth.check(input),
            _ => None,
        }
    }

    pub(super) const fn needs_file(&self) -> bool {
        match self {
            Self::Redirects(_) => true,
            Self::BasicAuth(auth) => auth.file.is_some(),
            _ => false,
        }
    }

    /// Reads the file that the action names.
    pub(super) fn read_file<F: RuleFiles>(
        &mut self,
        files: &mut F,
        form: PathForm,
    ) -> Result<(), F::Error> {
        match self {
            Self::Redirects(redirects) => {
                redirects.list = files.redirects(&redirects.file, form)?;
            }
            Self::BasicAuth(BasicAuth { file: Some(file), users, .. }) => {
                *users = files.users(file)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The action in words.
    pub(super) const fn describe(&self) -> &'static str {
        match self {
            Self::Redirect(..) | Self::TrailingSlash(..) => "redirects",
            Self::Redirects(_) => "redirects, because its file has the path",
            Self::Rewrite(_) | Self::DirectoryIndex(_) => "rewrites the path",
            Self::Deny => "refuses the request",
            Self::BasicAuth(_) => "requires a user name and a password",
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
