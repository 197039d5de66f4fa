//! The target of a redirect or a rewrite: a URL or a path with places for parts of the request's path.

use http::uri::Authority;

use super::{PathCondition, captured::Captured};
use crate::{
    behavior::PathPattern,
    cache::key::{PathForm, encode_key},
};

/// The name of the place for the whole path.
const PATH: &str = "path";

/// The target of a redirect or a rewrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    parts: Vec<Part>,
    /// Whether it has a host of its own.
    is_absolute: bool,
    pub(super) has_query: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The whole path of the request.
    Path,
    /// What a path condition captured, by number.
    Number(usize),
    /// What a path condition captured, by name.
    Name(String),
}

/// The reason for rejecting a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// It is neither a URL nor a path.
    #[error("it must begin with `/`, `http://` or `https://`")]
    NotUrl,
    /// It has a host, but only the path can be rewritten.
    #[error("it must begin with `/`: a rewrite cannot change the host")]
    NotPath,
    /// It has a query or a fragment, but only the path can be rewritten.
    #[error("a rewrite changes only the path: remove `?` and `#`")]
    NotOnlyPath,
    /// A host that is invalid, or that the request's path could change.
    #[error("the host must be complete before the first `{{`, and end with `/` or `{{path}}`")]
    Host,
    /// A brace without its counterpart.
    #[error("`{{` and `}}` must enclose `path`, or the number or name of a capture")]
    Brace,
    /// A character that a URL must escape.
    #[error("`{0}` is not allowed in a URL: percent-encode it")]
    Character(char),
    /// The condition captures nothing under this name.
    #[error("`{{{0}}}` names nothing that `path` or `path_regex` captures")]
    Unknown(String),
}

impl Target {
    /// Parses the target of a redirect.
    ///
    /// # Errors
    /// If it is invalid, or names what is not captured.
    pub(crate) fn of_redirect(text: &str, condition: &PathCondition) -> Result<Self, TargetError> {
        let parts = parse(text, condition)?;
        let is_absolute = text.starts_with("https://") || text.starts_with("http://");
        if is_absolute {
            check_host(text, &parts)?;
        } else if !text.starts_with('/') && parts.first() != Some(&Part::Path) {
            return Err(TargetError::NotUrl);
        }
        Ok(Self { parts, is_absolute, has_query: text.contains('?') })
    }

    /// Parses the target of a rewrite.
    ///
    /// # Errors
    /// If it is invalid, or names what is not captured.
    pub(crate) fn of_rewrite(text: &str, condition: &PathCondition) -> Result<Self, TargetError> {
        let parts = parse(text, condition)?;
        if !text.starts_with('/') && parts.first() != Some(&Part::Path) {
            return Err(TargetError::NotPath);
        }
        if text.contains(['?', '#']) {
            return Err(TargetError::NotOnlyPath);
        }
        Ok(Self { parts, is_absolute: false, has_query: false })
    }

    /// Whether a target contains places for captures.
    pub(crate) fn needs_captures(text: &str) -> bool {
        text.replace("{path}", "").contains('{')
    }

    /// The target for a path. What comes from the request is percent-encoded, so it cannot add a host or a query.
    pub(super) fn fill(&self, path: &str, form: PathForm, captures: &Captured<'_>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Path => encode(path, form, &mut text),
                Part::Number(number) => encode(captures.number(*number), form, &mut text),
                Part::Name(name) => encode(captures.name(name), form, &mut text),
            }
        }
        // A browser takes what follows two slashes for a host.
        if !self.is_absolute && text.starts_with("//") {
            text = format!("/{}", text.trim_start_matches('/'));
        }
        text
    }

    /// A pattern for all paths that the target can be; `None` if there is no such pattern.
    pub(super) fn pattern(&self) -> Option<PathPattern> {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(literal) => literal.as_str(),
            Part::Path | Part::Number(_) | Part::Name(_) => "*",
        });
        PathPattern::parse(&parts.collect::<String>()).ok()
    }
}

fn parse(text: &str, condition: &PathCondition) -> Result<Vec<Part>, TargetError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let Some(inner) = rest.strip_prefix('{') else {
            if c == '}' {
                return Err(TargetError::Brace);
            }
            let end = rest.find(['{', '}']).unwrap_or(rest.len());
            let (literal, after) = rest.split_at(end);
            if let Some(c) = literal.chars().find(|c| !is_allowed(*c)) {
                return Err(TargetError::Character(c));
            }
            parts.push(Part::Text(literal.to_owned()));
            rest = after;
            continue;
        };
        let (name, after) = inner.split_once('}').ok_or(TargetError::Brace)?;
        parts.push(match name.parse() {
            _ if name == PATH => Part::Path,
            _ if !condition.captures(name) => return Err(TargetError::Unknown(name.to_owned())),
            Ok(number) => Part::Number(number),
            Err(_) => Part::Name(name.to_owned()),
        });
        rest = after;
    }
    Ok(parts)
}

/// Checks that an absolute URL has a valid host, which nothing from the request can change.
fn check_host(text: &str, parts: &[Part]) -> Result<(), TargetError> {
    let Some(Part::Text(first)) = parts.first() else { return Err(TargetError::Host) };
    let after_scheme = first.split_once("://").map_or("", |(_, rest)| rest);
    let end = after_scheme.find(['/', '?', '#']);
    let host = &after_scheme[..end.unwrap_or(after_scheme.len())];
    // The path begins with a slash, which ends the host.
    let is_complete = end.is_some() || matches!(parts.get(1), None | Some(Part::Path));
    let is_valid = host.parse::<Authority>().is_ok() && !host.contains('@');
    if is_complete && is_valid && text.is_ascii() { Ok(()) } else { Err(TargetError::Host) }
}

/// Percent-encodes a part of a path as patterns see it. Slashes stay.
pub(super) fn encode(text: &str, form: PathForm, out: &mut String) {
    match form {
        PathForm::Key => encode_key(text, out),
        // Patterns see an escaped slash of a URI as it is written.
        PathForm::Uri => {
            for (at, part) in text.split("%2F").enumerate() {
                if at > 0 {
                    out.push_str("%2F");
                }
                encode_key(part, out);
            }
        }
    }
}
