//! `basic_auth` of a rule: names and passwords of viewers.

use std::{path::Path, sync::Arc};

use super::section::Section;
use crate::{access::passwords::Users, behavior::BasicAuth};

/// The realm of passwords that have none.
const DEFAULT_REALM: &str = "Restricted";

/// The users of a rule, and the challenge for viewers without a password.
pub(super) fn basic_auth(table: &Section<'_>, directory: &Path) -> Option<BasicAuth> {
    let realm = table.string("realm");
    let challenge = BasicAuth::challenge(realm.as_ref().map_or(DEFAULT_REALM, |it| it.value));
    if challenge.is_none() {
        let span = realm.map_or_else(|| table.span(), |realm| realm.span);
        let help = "use letters, digits, spaces and punctuation, in one line".to_owned();
        table.fault(span, "`realm` has characters that are not allowed", "in this text", help);
    }
    let file = table.string("users_file").map(|file| directory.join(file.value));
    let named = table.table("users").map(|users| users.strings_by_name()).unwrap_or_default();
    let (mut users, named_any) = (Users::default(), !named.is_empty());
    for (name, hash) in named {
        let parsed = hash.value.parse().map_err(|error| format!("user `{name}`: {error}"));
        if name.contains(':') || name.is_empty() {
            let help = "HTTP separates name and password by a colon".to_owned();
            let message = "the name of a user must not be empty or have a colon";
            table.fault(hash.span.clone(), message, "not allowed", help);
        }
        table.valid(hash.span, parsed, "not a bcrypt hash").map(|hash| users.add(name, hash));
    }
    match (&file, table.has("users")) {
        (None, _) if !named_any => {
            let help = "add `users_file = \"users.htpasswd\"`, and write it with `htpasswd -B`";
            let (message, help) = ("`basic_auth` has no users", help.to_owned());
            table.fault(table.span(), message, "in this table", help);
        }
        (Some(_), true) => {
            let help = "remove one of them".to_owned();
            let message = "`basic_auth` has either `users_file` or `users`";
            table.fault(table.span(), message, "in this table", help);
        }
        _ => {}
    }
    table.unknown();
    Some(BasicAuth { challenge: challenge?, file, users: Arc::new(users) })
}
