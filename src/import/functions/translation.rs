//! Writes the paths of a function as rules.

use super::{
    Event, Translation, Unclear,
    answer::Answer,
    conditions::{Atom, Facts, Subject, Test},
    following::{Path, follow},
    passwords::take_password,
    rule::{Action, PathTest, Rule},
    simplification::simplified,
    value::{Piece, Value},
};
use crate::http::field_table::FieldTrait;

/// The header field in which CloudFront sends the viewer's country.
const COUNTRY: &str = "cloudfront-viewer-country";

/// Translates a function that runs at an event of a distribution with these aliases.
pub(in crate::import) fn translate(
    source: &str,
    event: Event,
    aliases: &[&str],
) -> Result<Translation, Unclear> {
    let paths = follow(source)?;
    match event {
        Event::ViewerResponse => of_response(&paths),
        Event::ViewerRequest => of_request(paths, aliases),
    }
}

/// A function that sets the same header fields for all responses.
fn of_response(paths: &[Path]) -> Result<Translation, Unclear> {
    let [Path { fields, result: Value::Response, .. }] = paths else {
        return Err(Unclear::function("it does not set the same header fields for all responses"));
    };
    if let Some((name, _)) = fields.iter().find(|(name, _)| FieldTrait::Fixed.applies_to(name)) {
        return Err(Unclear::function(format!("no rule can set `{name}`")));
    }
    if fields.is_empty() {
        return Ok(Translation::default());
    }
    let rule = Rule { response_fields: fields.clone(), ..Rule::default() };
    let differences = vec!["errors and redirects get these header fields, too"];
    Ok(Translation { rules: vec![rule], differences })
}

fn of_request(paths: Vec<Path>, aliases: &[&str]) -> Result<Translation, Unclear> {
    if paths.iter().any(|path| !path.fields.is_empty()) {
        return Err(Unclear::function("it changes a response before there is one"));
    }
    let (password, paths) = take_password(simplified(paths))?;
    let paths = simplified(paths);
    let mut translation = Translation::default();
    translation.rules.extend(password);
    // For each path, whether it became a rule that ends the list.
    let mut is_rule = Vec::with_capacity(paths.len());
    let (paths, index) = split_off_index(&paths);
    for path in paths {
        let earlier: Vec<_> = paths.iter().zip(is_rule.iter().copied()).collect();
        let effect = effect(path)?;
        is_rule.push(effect.is_some());
        if let Some(effect) = effect {
            let rule = conditions(&path.facts, &earlier)?;
            add(&mut translation, rule, effect, path, aliases)?;
        }
    }
    if let Some((facts, object)) = index {
        let earlier: Vec<_> = paths.iter().zip(is_rule).collect();
        let action = Some(Action::DirectoryIndex(object));
        translation.rules.push(Rule { action, ..conditions(&facts, &earlier)? });
        translation.differences.push("only a dot after the last slash makes a path that of a file");
    }
    Ok(translation)
}

/// What a path does.
enum Effect {
    Rewrite(String),
    Answer(Answer),
}

/// What a path does; `None` if it leaves the request as it is.
fn effect(path: &Path) -> Result<Option<Effect>, Unclear> {
    match &path.result {
        Value::Request if path.uri == [Piece::Path] => Ok(None),
        Value::Request => Ok(Some(Effect::Rewrite(target(&path.uri)?))),
        Value::Object(_) => Answer::of(&path.result).map(|answer| Some(Effect::Answer(answer))),
        _ => Err(Unclear::function("it returns neither the request nor a response")),
    }
}

/// Adds the rule of a path; for the bare host, one for each alias that begins with `www.`.
fn add(
    translation: &mut Translation,
    rule: Rule,
    effect: Effect,
    path: &Path,
    aliases: &[&str],
) -> Result<(), Unclear> {
    let www = path.facts.0.iter().any(|(atom, holds)| *holds && *atom == www());
    let (status, location, fields) = match effect {
        Effect::Rewrite(target) => {
            no_www(www)?;
            let action = Some(Action::Rewrite(target));
            translation.rules.push(Rule { action, ..rule });
            return Ok(());
        }
        Effect::Answer(Answer::Forbidden) => {
            no_www(www)?;
            translation.rules.push(Rule { action: Some(Action::Deny), ..rule });
            let difference = "refusals have Forebay's own page and header fields";
            if !translation.differences.contains(&difference) {
                translation.differences.push(difference);
            }
            return Ok(());
        }
        Effect::Answer(Answer::Unauthorized(_)) => {
            return Err(Unclear::function("it asks for a password that it does not check"));
        }
        Effect::Answer(Answer::Redirect { status, location, fields }) => (status, location, fields),
    };
    if www && (aliases.is_empty() || aliases.iter().any(|alias| alias.starts_with('*'))) {
        return Err(Unclear::function(
            "it removes `www.` from any host: the distribution has not only full names",
        ));
    }
    let hosts: Vec<Option<&str>> = if www {
        aliases.iter().filter(|alias| alias.starts_with("www.")).copied().map(Some).collect()
    } else {
        vec![None]
    };
    for host in hosts {
        let location = location.iter().map(|piece| match (piece, host) {
            (Piece::BareHost, Some(host)) => {
                Ok(Piece::Literal(host.strip_prefix("www.").unwrap_or(host).to_owned()))
            }
            (Piece::BareHost, None) => Err(Unclear::function("it removes `www.` from any host")),
            (piece, _) => Ok(piece.clone()),
        });
        let location: Vec<Piece> = location.collect::<Result<_, _>>()?;
        let action = Action::Redirect { status, target: target(&on_same_host(location)?)? };
        translation.rules.push(Rule {
            host: host.map(str::to_owned).or_else(|| rule.host.clone()),
            action: Some(action),
            response_fields: fields.clone(),
            ..rule.clone()
        });
    }
    Ok(())
}

fn no_www(www: bool) -> Result<(), Unclear> {
    let reason = "no rule has a condition for all hosts that begin with `www.`";
    if www { Err(Unclear::function(reason)) } else { Ok(()) }
}

fn www() -> Atom {
    Atom { subject: Subject::Host, test: Test::StartsWith("www.".to_owned()) }
}

/// A location on the request's own host, as a path.
fn on_same_host(location: Vec<Piece>) -> Result<Vec<Piece>, Unclear> {
    match &location[..] {
        [Piece::Literal(scheme), Piece::Host, rest @ ..] if scheme == "https://" => match rest {
            [Piece::Literal(path), ..] if path.starts_with('/') => Ok(rest.to_vec()),
            [Piece::Path, ..] => Err(Unclear::function(
                "it redirects to HTTPS: set `viewer_protocol_policy = \"redirect-to-https\"` instead",
            )),
            _ => Err(Unclear::function("it redirects to another port or host")),
        },
        _ => Ok(location),
    }
}

/// The target of a rewrite or a redirect.
fn target(pieces: &[Piece]) -> Result<String, Unclear> {
    let mut target = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) if !text.contains(['{', '}']) => target.push_str(text),
            Piece::Path => target.push_str("{path}"),
            _ => {
                let reason = "it makes a URL of more than the path of the request";
                return Err(Unclear::function(reason));
            }
        }
    }
    Ok(target)
}

/// Splits off the last paths of a function if they add an index document to folders, and to paths without a dot. Returns what
/// the function tests before, and the name of the document.
fn split_off_index(paths: &[Path]) -> (&[Path], Option<(Facts, String)>) {
    let index = paths.split_last_chunk().and_then(|(rest, last)| Some((rest, index(last)?)));
    index.map_or((paths, None), |(rest, index)| (rest, Some(index)))
}

fn index([folder, file, other]: &[Path; 3]) -> Option<(Facts, String)> {
    let test = |test| Atom { subject: Subject::Path, test };
    let is_folder = test(Test::EndsWith("/".to_owned()));
    let has_dot = test(Test::Contains(".".to_owned()));
    let (before, last) = folder.facts.0.split_at_checked(folder.facts.0.len().checked_sub(1)?)?;
    let follows = |path: &Path, facts: &[(Atom, bool)]| path.facts.0 == [before, facts].concat();
    let is_index = last == [(is_folder.clone(), true)]
        && follows(file, &[(is_folder.clone(), false), (has_dot.clone(), true)])
        && follows(other, &[(is_folder, false), (has_dot, false)])
        && file.uri == [Piece::Path]
        && [folder, file, other].iter().all(|path| path.result == Value::Request);
    let added = |path: &Path| match &path.uri[..] {
        [Piece::Path, Piece::Literal(more)] if is_index => Some(more.clone()),
        _ => None,
    };
    let object = added(folder)?;
    let is_same = added(other)?.strip_prefix('/') == Some(&object) && !object.contains('/');
    is_same.then(|| (Facts(before.to_vec()), object))
}

/// The conditions of a path as those of a rule. What earlier rules take is left out.
fn conditions(facts: &Facts, earlier: &[(&Path, bool)]) -> Result<Rule, Unclear> {
    let mut rule = Rule::default();
    for (index, (atom, holds)) in facts.0.iter().enumerate() {
        let is_taken = || {
            let before = &facts.0[..index];
            let opposite = |(other, _): &&(&Path, bool)| {
                let facts = &other.facts.0;
                facts.get(..index) == Some(before)
                    && facts.get(index) == Some(&(atom.clone(), true))
            };
            let mut others = earlier.iter().filter(opposite).peekable();
            others.peek().is_some() && others.all(|(_, is_rule)| *is_rule)
        };
        match (&atom.subject, &atom.test, holds) {
            // A test of its value says more.
            (Subject::Header(_), Test::Present, true)
                if facts.0.iter().any(|(other, holds)| {
                    *holds && other.subject == atom.subject && other.test != Test::Present
                }) => {}
            // CloudFront always knows it.
            (Subject::Header(name), Test::Present, true) if name == COUNTRY => {}
            (_, _, false) if is_taken() => {}
            (Subject::Path, test, _) => {
                let test = path_test(test, *holds)?;
                if rule.path.replace(test).is_some() {
                    return Err(Unclear::function("it tests a path in two ways at once"));
                }
            }
            (Subject::Host, Test::Equals(host), true) if rule.host.is_none() => {
                rule.host = Some(host.clone());
            }
            // One rule for each alias.
            (Subject::Host, _, true) if *atom == www() => {}
            (Subject::Header(name), Test::Equals(code), true) if name == COUNTRY => {
                rule.country = Some(code.clone());
            }
            (Subject::Header(name), test, true)
                if !rule.headers.iter().any(|(own, _)| own == name) =>
            {
                let pattern = pattern(test).ok_or_else(|| too_strange(atom))?;
                rule.headers.push((name.clone(), pattern));
            }
            _ => return Err(too_strange(atom)),
        }
    }
    Ok(rule)
}

/// A pattern for a test, in which stars match any text.
fn pattern(test: &Test) -> Option<String> {
    let (value, pattern) = match test {
        Test::Present => return Some("*".to_owned()),
        Test::Equals(value) => (value, value.clone()),
        Test::StartsWith(value) => (value, format!("{value}*")),
        Test::EndsWith(value) => (value, format!("*{value}")),
        Test::Contains(value) => (value, format!("*{value}*")),
        Test::Matches(_) => return None,
    };
    (!value.contains(['*', '?'])).then_some(pattern)
}

/// A test of the path. Rules see it decoded, so its text must have nothing that a URL escapes.
fn path_test(test: &Test, holds: bool) -> Result<PathTest, Unclear> {
    let is_plain =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "/_.~-".contains(c));
    let test = match (test, holds) {
        (Test::Matches(regex), true) if is_alike(regex) => Some(PathTest::Regex(regex.clone())),
        (Test::Equals(part) | Test::StartsWith(part), true) if is_plain(part) => {
            // A path pattern begins with a slash by itself.
            pattern(test).filter(|_| part.starts_with('/')).map(PathTest::Pattern)
        }
        (Test::EndsWith(part) | Test::Contains(part), true) if is_plain(part) => {
            pattern(test).map(PathTest::Pattern)
        }
        (Test::Contains(part), false) if is_plain(part) && part.len() == 1 => {
            Some(PathTest::Regex(format!("^[^{}]*$", regex::escape(part))))
        }
        (Test::EndsWith(part), false) if is_plain(part) && part.len() == 1 => {
            Some(PathTest::Regex(format!("[^{}]$", regex::escape(part))))
        }
        _ => None,
    };
    test.ok_or_else(|| Unclear::function("it tests the path in a way that no rule can"))
}

/// Whether a regular expression of JavaScript, for paths as they are sent, means the same in a rule, for decoded paths.
fn is_alike(regex: &str) -> bool {
    let plain = regex.strip_prefix("(?i)").unwrap_or(regex);
    let (mut is_in_class, mut is_negated) = (false, false);
    let mut before = ' ';
    let mut chars = plain.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        let is_fine = match c {
            // `\d` and `\w` have other characters here, and letters may be other escapes.
            '\\' => {
                let escaped = chars.next().unwrap_or('a');
                "/.-$^*+?()[]{}|".contains(escaped)
            }
            '[' if is_in_class => false,
            '[' => {
                (is_in_class, is_negated) = (true, next == '^');
                true
            }
            ']' => {
                is_in_class = false;
                true
            }
            // A character may be several ones before it is decoded.
            '{' => before != '.' && !(before == ']' && is_negated),
            '?' if before == '(' => next == ':',
            '&' | '~' | '-' if is_in_class => next != c,
            c => c.is_ascii_alphanumeric() || "/.-_~$^*+?()}|:,!'@=;".contains(c),
        };
        if !is_fine {
            return false;
        }
        before = c;
    }
    regex::Regex::new(regex).is_ok()
}

fn too_strange(Atom { subject, test }: &Atom) -> Unclear {
    let what = match subject {
        Subject::Path => "the path",
        Subject::Host => "the host",
        Subject::Header(name) => name,
    };
    let how = match test {
        Test::Present => "for its presence",
        _ => "for its value",
    };
    Unclear::function(format!("it tests {what} {how} in a way that no rule can"))
}
