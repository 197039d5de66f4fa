//! Functions that check a password.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Unclear,
    answer::Answer,
    conditions::{Atom, Subject, Test},
    following::Path,
    rule::{Action, Rule},
    value::Value,
};
use crate::access::passwords::PasswordHash;

/// Takes the check of a password out of a function: returns its rule, and the paths of requests with the password.
pub(super) fn take_password(paths: Vec<Path>) -> Result<(Option<Rule>, Vec<Path>), Unclear> {
    let subject = Subject::Header("authorization".to_owned());
    let atoms = || paths.iter().flat_map(|path| &path.facts.0);
    let mut values: Vec<&String> = Vec::new();
    for (atom, _) in atoms().filter(|(atom, _)| atom.subject == subject) {
        match &atom.test {
            Test::Present => {}
            Test::Equals(value) if values.contains(&value) => {}
            Test::Equals(value) => values.push(value),
            _ => return Err(unclear()),
        }
    }
    let value = match values[..] {
        [] if !atoms().any(|(atom, _)| atom.subject == subject) => return Ok((None, paths)),
        [value] => value.clone(),
        _ => return Err(unclear()),
    };
    // Requests without the field, with another value, and with this one.
    let [without, other, with] = [(false, false), (true, false), (true, true)].map(|state| {
        let fits = |path: &&Path| path.facts.0.iter().all(|fact| fits(fact, &subject, state));
        paths.iter().filter(fits).collect::<Vec<_>>()
    });
    let mut realm = None;
    for path in without.into_iter().chain(other) {
        let is_only_about_password = path.facts.0.iter().all(|(atom, _)| atom.subject == subject);
        match Answer::of(&path.result) {
            Ok(Answer::Unauthorized(own)) if is_only_about_password => realm = Some(own),
            _ => return Err(unclear()),
        }
    }
    let pair = value.strip_prefix("Basic ").and_then(|pair| BASE64_STANDARD.decode(pair).ok());
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok()).ok_or_else(unclear)?;
    let (name, password) = pair.split_once(':').ok_or_else(unclear)?;
    if password.len() > PasswordHash::MAX_PASSWORD || password.contains('\0') {
        return Err(Unclear::function(
            "its password is longer than 71 bytes, which is too long for bcrypt",
        ));
    }
    let action = Action::BasicAuth {
        realm: realm.ok_or_else(unclear)?,
        name: name.to_owned(),
        password: password.to_owned(),
    };
    let rest = with.into_iter().cloned().map(|mut path| {
        path.facts.0.retain(|(atom, _)| atom.subject != subject);
        path
    });
    let rest: Vec<Path> = rest.collect();
    // A password that is right must be let in.
    let is_refused = |path: &Path| {
        matches!(path.result, Value::Object(_))
            && matches!(Answer::of(&path.result), Ok(Answer::Unauthorized(_)))
    };
    if rest.iter().any(is_refused) {
        return Err(unclear());
    }
    Ok((Some(Rule { action: Some(action), ..Rule::default() }), rest))
}

/// Whether a fact fits a request whose field is present, and has the value.
fn fits((atom, holds): &(Atom, bool), subject: &Subject, (present, equal): (bool, bool)) -> bool {
    atom.subject != *subject || *holds == if atom.test == Test::Present { present } else { equal }
}

fn unclear() -> Unclear {
    Unclear::function("it reads Authorization, but not as a check of one user name and password")
}
