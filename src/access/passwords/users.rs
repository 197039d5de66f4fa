//! Users and the hashes of their passwords.

use std::collections::BTreeMap;

use super::{Credentials, PasswordHash};
use crate::base::list_lines::{LineError, list_lines};

/// Users and the hashes of their passwords.
#[derive(Debug, Default)]
pub(crate) struct Users(BTreeMap<Box<str>, PasswordHash>);

impl Users {
    /// Maximum size of a file in bytes.
    pub(crate) const MAX_SIZE: u64 = 4 << 20;

    /// Reads a file as `htpasswd -B` writes it: a user name, a colon and a hash on each line. Empty lines and those that
    /// begin with `#` are ignored.
    ///
    /// # Errors
    /// For the first line that is not such a pair, and for a name that an earlier line has.
    pub(crate) fn parse(text: &str) -> Result<Self, LineError> {
        let mut users = Self::default();
        for (number, line) in list_lines(text) {
            // The line may be a password, so an error does not repeat it.
            let refuse = |reason: String| LineError { line: number, reason };
            let expected = || refuse("expected a user name, a colon and a bcrypt hash".to_owned());
            let (name, rest) = line.split_once(':').ok_or_else(expected)?;
            if name.is_empty() {
                return Err(expected());
            }
            // What follows a second colon is a comment.
            let hash = rest.split(':').next().unwrap_or_default().parse();
            let hash = hash.map_err(|error| refuse(format!("user `{name}`: {error}")))?;
            if !users.add(name, hash) {
                return Err(refuse(format!("an earlier line has the user `{name}`, too")));
            }
        }
        Ok(users)
    }

    /// Adds a user, unless there is one of this name.
    pub(crate) fn add(&mut self, name: &str, hash: PasswordHash) -> bool {
        let is_new = !self.0.contains_key(name);
        if is_new {
            self.0.insert(name.into(), hash);
        }
        is_new
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the password is known to be that of the user.
    pub(crate) fn know(&self, credentials: &Credentials) -> bool {
        let hash = self.0.get(&*credentials.name);
        hash.is_some_and(|hash| hash.is_known(&credentials.password))
    }

    /// Verifies a password. For an unknown user, this takes as long as for the slowest hash, so that viewers do not learn names.
    pub(super) fn verify(&self, credentials: &Credentials) -> bool {
        match self.0.get(&*credentials.name) {
            Some(hash) => {
                hash.is_known(&credentials.password) || hash.verify(&credentials.password)
            }
            None => {
                if let Some(other) = self.0.values().max_by_key(|hash| hash.cost()) {
                    std::hint::black_box(other.matches(&credentials.password));
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let hash = "$2y$04$0iFEvCgTLMzm.vLj2R85teYY8cHCR78CCXdaLWhg43ClnyxWBKLHG";
        let text = format!("# editors\n\neve:{hash}\r\n bob:{hash}:Bob Miller\n");
        let users = Users::parse(&text).expect("users");
        let login = |name: &str, password: &str| {
            let (name, password) = (name.to_owned(), password.as_bytes().to_vec());
            users.verify(&Credentials { name, password })
        };
        assert!(login("eve", "open sesame") && login("bob", "open sesame"));
        assert!(!login("eve", "open") && !login("ann", "open sesame") && !login("", ""));
        for (text, expected) in [
            ("a".to_owned(), "line 1: expected a user name, a colon and a bcrypt hash"),
            (format!("\n:{hash}"), "line 2: expected a user name, a colon and a bcrypt hash"),
            (format!("a:{hash}\na:{hash}"), "line 2: an earlier line has the user `a`, too"),
            (
                "a:$apr1$x$y".to_owned(),
                "line 1: user `a`: it is not a bcrypt hash, which begins with `$2y$`: make one with `htpasswd -B`",
            ),
        ] {
            assert_eq!(Users::parse(&text).expect_err("an error").to_string(), expected);
        }
    }
}
