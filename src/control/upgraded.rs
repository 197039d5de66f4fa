//! The outcome of an upgrade.

use serde::{Deserialize, Serialize};

/// A new process has replaced this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upgraded {
    /// The ID of the new process.
    pub process: u32,
    /// Its version of Forebay.
    pub version: String,
    /// The path of its program.
    pub program: String,
    /// The ID of the process that it replaced.
    pub replaced: u32,
}

impl Upgraded {
    /// The outcome in one line.
    #[must_use]
    pub(crate) fn summary(&self) -> String {
        let Self { process, version, program, replaced } = self;
        format!(
            "process {process} ({program}, version {version}) serves now; process {replaced} ends with its last request"
        )
    }
}

/// The outcome of an upgrade: there is a new process, or an error says why not.
pub(crate) type UpgradeOutcome = Result<Upgraded, String>;
