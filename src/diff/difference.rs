//! A difference between two responses.

use serde::Serialize;

/// How much a difference matters, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Class {
    /// Viewers or their caches may behave differently.
    Wrong,
    /// The reference gave no complete response, or another one to the same request.
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

impl Difference {
    /// Is no fault if the responses of the reference to two equal requests differ in the same.
    pub(super) fn excuse(&mut self, own: &[Self]) {
        let is_own = own.iter().any(|own| own.aspect == self.aspect);
        if self.class != Class::Wrong || !is_own {
            return;
        }
        self.reason = "two responses of the reference to the same request differ in it";
        let is_field = !["status", "content", "response"].contains(&&*self.aspect);
        self.class = if is_field { Class::Expected } else { Class::NotCompared };
    }
}
