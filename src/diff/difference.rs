//! A difference between two responses.

use serde::Serialize;

/// How much a difference matters, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Class {
    /// Viewers or their caches may behave differently.
    Wrong,
    /// The reference gave no complete response.
    NotCompared,
    /// Viewers get the same in another form.
    Harmless,
    /// Every two servers differ in it.
    Expected,
}

impl Class {
    pub(super) const ALL: [Self; 4] =
        [Self::Wrong, Self::NotCompared, Self::Harmless, Self::Expected];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::NotCompared => "not compared",
            Self::Harmless => "harmless",
            Self::Expected => "expected",
        }
    }
}

/// A difference between two responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) class: Class,
    /// `status`, `content`, `response`, or the name of a field.
    pub(super) aspect: String,
    /// Why it is in its class.
    pub(super) reason: &'static str,
    /// The values of the reference and of the candidate; `None` if a field is missing.
    pub(super) values: [Option<String>; 2],
}
