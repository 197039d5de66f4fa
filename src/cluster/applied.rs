//! The purges that a node has applied, as it tells a peer.

use std::{fmt, str::FromStr};

use super::log_name::LogName;

/// A log, and the last of its purges that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(super) log: LogName,
    pub(super) sequence: u64,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sequence, self.log)
    }
}

impl FromStr for Applied {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (sequence, log) = text.split_once(' ').ok_or(())?;
        Ok(Self { log: log.parse()?, sequence: sequence.parse().map_err(|_| ())? })
    }
}
