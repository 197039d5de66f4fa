//! Captures of a path condition.

use regex::Captures;

/// Captures of a path condition; none if it captures nothing.
#[derive(Debug, Default)]
pub(super) struct Captured<'a>(pub(super) Option<Captures<'a>>);

impl Captured<'_> {
    /// The text under a number; empty if that part of the expression took no part in the match.
    pub(super) fn number(&self, number: usize) -> &str {
        let found = self.0.as_ref().and_then(|captures| captures.get(number));
        found.map_or("", |found| found.as_str())
    }

    /// The same by name.
    pub(super) fn name(&self, name: &str) -> &str {
        let found = self.0.as_ref().and_then(|captures| captures.name(name));
        found.map_or("", |found| found.as_str())
    }
}
