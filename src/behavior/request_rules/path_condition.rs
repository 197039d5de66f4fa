//! The condition of a rule for the path.

use std::fmt;

use regex::Regex;

use super::captured::Captured;
use crate::behavior::PathPattern;

/// The condition of a rule for the path.
#[derive(Clone, Debug, Default)]
pub(crate) enum PathCondition {
    /// Every path.
    #[default]
    Any,
    /// The paths that match a pattern.
    Pattern(PathPattern),
    /// The same, and the target uses what the pattern's stars match. The expression captures that.
    CapturingPattern(PathPattern, Regex),
    /// The paths in which a regular expression is found.
    Regex(Regex),
}

impl PathCondition {
    /// The most memory of a compiled expression, in bytes.
    const MOST_MEMORY: usize = 1 << 20;

    /// Compiles a regular expression.
    ///
    /// # Errors
    /// If it is invalid, or needs too much memory.
    pub(crate) fn regex(text: &str) -> Result<Self, regex::Error> {
        compile(text).map(Self::Regex)
    }

    /// A condition that captures what the stars of a pattern match: each as little as possible, the last one all of the rest.
    ///
    /// # Errors
    /// If the pattern is too complex.
    pub(crate) fn capturing(pattern: PathPattern) -> Result<Self, regex::Error> {
        let mut text = String::from("(?s)^");
        for c in pattern.to_string().chars() {
            match c {
                '*' => text.push_str("(.*?)"),
                '?' => text.push('.'),
                c => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
        }
        text.push('$');
        Ok(Self::CapturingPattern(pattern, compile(&text)?))
    }

    /// Whether the condition captures something under this name or number.
    pub(crate) fn captures(&self, name: &str) -> bool {
        let (Self::CapturingPattern(_, regex) | Self::Regex(regex)) = self else { return false };
        match name.parse::<usize>() {
            Ok(number) => (1..regex.captures_len()).contains(&number),
            Err(_) => regex.capture_names().flatten().any(|known| known == name),
        }
    }

    /// Whether the path matches.
    pub(super) fn is_met_by(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Pattern(pattern) | Self::CapturingPattern(pattern, _) => pattern.matches(path),
            Self::Regex(regex) => regex.is_match(path),
        }
    }

    /// The captures, if the path matches.
    pub(super) fn captures_of<'a>(&self, path: &'a str) -> Option<Captured<'a>> {
        match self {
            Self::Any | Self::Pattern(_) => self.is_met_by(path).then(Captured::default),
            Self::CapturingPattern(_, regex) | Self::Regex(regex) => {
                regex.captures(path).map(|captures| Captured(Some(captures)))
            }
        }
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(text).size_limit(PathCondition::MOST_MEMORY).build()
}

impl fmt::Display for PathCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => write!(f, "any path"),
            Self::Pattern(pattern) | Self::CapturingPattern(pattern, _) => {
                write!(f, "path {pattern}")
            }
            Self::Regex(regex) => write!(f, "path_regex {regex}"),
        }
    }
}
