//! The target of a redirect or a rewrite: a URL or a path with places for parts of the request's path.

use http::uri::Authority;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{PathCondition, captured::Captured};
use crate::{
    behavior::PathPattern,
    cache::key::{CanonicalPath, PathError, PathForm, encode_key},
};

/// The name of the place for the whole path.
const PATH: &str = "path";

/// The target of a redirect or a rewrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    parts: Vec<Part>,
    /// Whether it has a host of its own.
    is_absolute: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The path of the request, or a capture of the path condition.
    Place(Place),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Path,
    Number(usize),
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
    /// A rewrite to an invalid path.
    #[error("it is not a valid path: {0}")]
    Path(PathError),
    /// It begins with two slashes, which browsers take for the beginning of a host.
    #[error("write a URL with its scheme, or a path with one slash")]
    TwoSlashes,
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
        if text.starts_with("//") {
            return Err(TargetError::TwoSlashes);
        }
        if is_absolute {
            check_host(text, &parts)?;
        } else if !text.starts_with('/') && parts.first() != Some(&Part::Place(Place::Path)) {
            return Err(TargetError::NotUrl);
        }
        Ok(Self { parts, is_absolute })
    }

    /// Parses the target of a rewrite.
    ///
    /// # Errors
    /// If it is invalid, or names what is not captured.
    pub(crate) fn of_rewrite(text: &str, condition: &PathCondition) -> Result<Self, TargetError> {
        let parts = parse(text, condition)?;
        if !text.starts_with('/') && parts.first() != Some(&Part::Place(Place::Path)) {
            return Err(TargetError::NotPath);
        }
        if text.contains(['?', '#']) {
            return Err(TargetError::NotOnlyPath);
        }
        let target = Self { parts, is_absolute: false };
        // A capture of one letter makes no difference.
        let sample = target.filled("/a", PathForm::Uri, |_| "a");
        CanonicalPath::resolve(&sample, PathForm::Key).map_err(TargetError::Path)?;
        Ok(target)
    }

    /// Whether a target contains places for captures.
    pub(crate) fn needs_captures(text: &str) -> bool {
        text.replace("{path}", "").contains('{')
    }

    /// The target for a path. What comes from the request is percent-encoded, so it cannot add a host or a query.
    pub(super) fn fill(&self, path: &str, form: PathForm, captures: &Captured<'_>) -> String {
        let text = self.filled(path, form, |place| match place {
            Place::Path => path,
            Place::Number(number) => captures.number(*number),
            Place::Name(name) => captures.name(name),
        });
        // A browser takes what follows two slashes for a host.
        if !self.is_absolute && text.starts_with("//") {
            return format!("/{}", text.trim_start_matches('/'));
        }
        text
    }

    fn filled<'a>(
        &'a self,
        path: &'a str,
        form: PathForm,
        text_of: impl Fn(&'a Place) -> &'a str,
    ) -> String {
        let (mut text, mut is_in_path) = (String::new(), true);
        for part in &self.parts {
            match part {
                Part::Text(literal) => {
                    is_in_path &= !literal.contains(['?', '#']);
                    text.push_str(literal);
                }
                Part::Place(Place::Path) if is_in_path => encode(path, form, &mut text),
                Part::Place(place) if is_in_path => encode(text_of(place), form, &mut text),
                // `&` and `=` would add parameters.
                Part::Place(place) => encode_key(text_of(place), &mut text),
            }
        }
        text
    }

    /// A pattern for all paths that the target can be.
    pub(super) fn pattern(&self) -> PathPattern {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(literal) => {
                let decoded = percent_decode_str(literal).decode_utf8_lossy();
                // What a pattern cannot have is any character.
                let is_known = |c: char| c.is_ascii_alphanumeric() || "_-.$/~\"'@:+&".contains(c);
                decoded.chars().map(|c| if is_known(c) { c } else { '?' }).collect::<String>()
            }
            Part::Place(_) => "*".to_owned(),
        });
        let text: String = parts.collect();
        PathPattern::parse(&text).unwrap_or_else(|_| PathPattern::any())
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
            _ if name == PATH => Part::Place(Place::Path),
            _ if !condition.captures(name) => return Err(TargetError::Unknown(name.to_owned())),
            Ok(number) => Part::Place(Place::Number(number)),
            Err(_) => Part::Place(Place::Name(name.to_owned())),
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
    let is_complete =
        end.is_some() || matches!(parts.get(1), None | Some(Part::Place(Place::Path)));
    let is_valid = host.parse::<Authority>().is_ok() && !host.contains('@');
    if is_complete && is_valid && text.is_ascii() { Ok(()) } else { Err(TargetError::Host) }
}

/// Characters that need no escape in a path (RFC 3986 §3.3), and slashes.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// Percent-encodes a part of a decoded path. In a URI path, an escaped slash was not decoded.
pub(super) fn encode(text: &str, form: PathForm, out: &mut String) {
    let parts: Vec<&str> = match form {
        PathForm::Key => vec![text],
        PathForm::Uri => text.split("%2F").collect(),
    };
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            out.push_str("%2F");
        }
        out.extend(utf8_percent_encode(part, IN_PATH));
    }
}
