//! Translates CloudFront Functions to rules.
//!
//! A function is not run. It is followed on all its paths with symbols for what a request has (`following.rs`), and the paths
//! are written as rules (`translation.rs`). Whatever is not understood refuses the translation: a function may restrict access.

mod answer;
mod conditions;
mod expressions;
mod following;
mod passwords;
mod rule;
mod simplification;
#[cfg(test)]
mod tests;
mod translation;
mod value;

pub(super) use rule::Rule;
pub(super) use translation::translate;

/// The events at which a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Before the cache lookup.
    ViewerRequest,
    /// Before the response is sent.
    ViewerResponse,
}

/// A function as rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Translation {
    pub(super) rules: Vec<Rule>,
    /// How the rules differ from the function.
    pub(super) differences: Vec<&'static str>,
}

/// The reason why a function is not translated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclear {
    /// The line, if one is the reason.
    pub(super) line: Option<usize>,
    pub(super) reason: String,
}

impl Unclear {
    fn function(reason: impl Into<String>) -> Self {
        Self { line: None, reason: reason.into() }
    }
}

impl std::fmt::Display for Unclear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}
