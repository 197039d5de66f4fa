//! The names of query strings or cookies that a policy includes.

use std::collections::BTreeSet;

use crate::base::glob::matches_bytes;

/// The names of one kind (query strings, cookies) that a policy includes, in CloudFront's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NameSpec {
    /// `none`.
    #[default]
    None,
    /// `whitelist`: only these. In them, `*` matches any characters and `?` matches one.
    Only(BTreeSet<String>),
    /// `allExcept`: all but these.
    Except(BTreeSet<String>),
    /// `all`.
    All,
    /// The names that any of these includes.
    AnyOf(Vec<Self>),
    /// The names that the first includes, without these.
    Without(Box<Self>, BTreeSet<String>),
}

impl NameSpec {
    pub(super) fn includes(&self, name: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::Only(names) => lists(names, name),
            Self::Except(names) => !lists(names, name),
            Self::All => true,
            Self::AnyOf(specs) => specs.iter().any(|spec| spec.includes(name)),
            Self::Without(spec, names) => spec.includes(name) && !lists(names, name),
        }
    }

    fn has_wildcards(&self) -> bool {
        match self {
            Self::None | Self::All => false,
            Self::Only(names) | Self::Except(names) => names.iter().any(|name| is_pattern(name)),
            Self::AnyOf(_) | Self::Without(..) => true,
        }
    }

    /// Whether this name is listed as included.
    #[must_use]
    pub fn lists(&self, name: &str) -> bool {
        matches!(self, Self::Only(names) if names.contains(name))
    }

    /// The union of two specifications.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::None, spec) | (spec, Self::None) => spec.clone(),
            (a, b) if a.has_wildcards() || b.has_wildcards() => {
                Self::AnyOf(vec![a.clone(), b.clone()])
            }
            (Self::Only(a), Self::Only(b)) => Self::Only(a | b),
            (Self::Except(a), Self::Except(b)) => Self::Except(a & b),
            (Self::Only(only), Self::Except(except)) | (Self::Except(except), Self::Only(only)) => {
                Self::Except(except - only)
            }
            (a, b) => Self::AnyOf(vec![a.clone(), b.clone()]),
        }
    }

    /// The same specification without `names`, which it never includes.
    #[must_use]
    pub fn without(self, names: &[&str]) -> Self {
        let names: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
        match self {
            spec if spec.has_wildcards() => Self::Without(Box::new(spec), names),
            Self::Only(only) => Self::Only(&only - &names),
            Self::Except(except) => Self::Except(&except | &names),
            Self::All => Self::Except(names),
            spec => spec,
        }
    }

    /// Whether the name of `pair`, which may have a value, is included.
    pub(super) fn includes_pair(&self, pair: &[u8]) -> bool {
        self.includes(pair.split(|byte| *byte == b'=').next().unwrap_or_default())
    }
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether `names`, some of which may be patterns, list a name. Listed names are text, so only a
/// pattern can match a name that is not.
fn lists(names: &BTreeSet<String>, name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| names.contains(name))
        || names.iter().any(|listed| is_pattern(listed) && matches_bytes(listed.as_bytes(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn names_may_have_wildcards() {
        for (pattern, name, expected) in [
            ("session_*", "session_1", true),
            ("session_*", "session_", true),
            ("session_*", "xsession_1", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("**?", "", false),
            ("**?", "x", true),
        ] {
            assert_eq!(
                matches_bytes(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        let only = |list: &[&str]| NameSpec::Only(names(list));
        let signed = only(&["CloudFront-*", "session_*"]).without(&["CloudFront-Policy"]);
        let both = only(&["session_*"]).union(&only(&["theme"]));
        let except = NameSpec::Except(names(&["session_*"])).union(&only(&["session_1"]));
        for (spec, name, expected) in [
            (&signed, "CloudFront-Policy", false),
            (&signed, "CloudFront-Other", true),
            (&signed, "session_9", true),
            (&both, "theme", true),
            (&both, "session_9", true),
            (&both, "other", false),
            (&except, "session_1", true),
            (&except, "session_2", false),
            (&except, "other", true),
        ] {
            assert_eq!(spec.includes(name.as_bytes()), expected, "{spec:?} {name}");
        }
        assert!(NameSpec::Only(names(&["*"])).includes(b"\xff"), "bytes that are no text");
    }
}
