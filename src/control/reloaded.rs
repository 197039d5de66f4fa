//! The outcome of a reload.

use serde::{Deserialize, Serialize};

/// A new configuration that is in effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether there is a configuration file.
    pub is_from_file: bool,
    /// The keys that changed, but whose old values stay in effect until a restart.
    pub needs_restart: Vec<String>,
    /// The warnings of `forebay check`.
    pub warnings: Vec<String>,
}

impl Reloaded {
    /// The outcome in one line.
    #[must_use]
    pub const fn summary(&self) -> &'static str {
        match (self.is_from_file, self.needs_restart.is_empty()) {
            (true, true) => "the new configuration is in effect",
            (true, false) => "the new configuration is in effect, except for what needs a restart",
            (false, _) => "there is no configuration file; AWS credentials are read again",
        }
    }

    /// All that the operator should know, a line each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let restart = |key| {
            format!("`{key}` changed; run `forebay upgrade` or restart Forebay to apply the change")
        };
        self.needs_restart.iter().map(restart).chain(self.warnings.clone()).collect()
    }
}

/// The outcome of a reload: the new configuration is in effect, or an error says why not.
pub(crate) type ReloadOutcome = Result<Reloaded, String>;
