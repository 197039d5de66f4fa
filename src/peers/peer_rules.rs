//! The rules of a behavior that a node has applied to a request.

use std::{fmt, str::FromStr};

use crate::behavior::RuleMatches;

/// The rules of a behavior that a node has applied to a request. Another node has the same configuration, but not the viewer's
/// request, so it cannot find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerRules {
    /// The name of the behavior.
    pub(crate) behavior: String,
    pub(crate) matches: RuleMatches,
}

impl fmt::Display for PeerRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x} {}", self.matches.number(), self.behavior)
    }
}

impl FromStr for PeerRules {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (matches, behavior) = text.split_once(' ').ok_or(())?;
        let matches = u64::from_str_radix(matches, 16).map_err(|_| ())?;
        Ok(Self { behavior: behavior.to_owned(), matches: RuleMatches::from_number(matches) })
    }
}
