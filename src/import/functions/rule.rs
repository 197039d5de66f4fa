//! A rule as text.

use crate::import::text::{Text, key, quote};

/// Cost of the hashes of passwords: about 50 ms.
const COST: u32 = 10;

/// A rule that a function becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::import) struct Rule {
    /// A path pattern, or a regular expression.
    pub(super) path: Option<PathTest>,
    pub(super) host: Option<String>,
    pub(in crate::import) country: Option<String>,
    /// Header fields with patterns for their values.
    pub(super) headers: Vec<(String, String)>,
    pub(super) action: Option<Action>,
    /// Header fields that viewers get.
    pub(super) response_fields: Vec<(String, String)>,
}

/// A condition for the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathTest {
    Pattern(String),
    Regex(String),
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Redirect { status: u16, target: String },
    Rewrite(String),
    DirectoryIndex(String),
    Deny,
    BasicAuth { realm: String, name: String, password: String },
}

impl Rule {
    /// Writes the rule below its heading. Each password gets a hash with a salt of its own.
    pub(in crate::import) fn write(&self, text: &mut Text) {
        match &self.path {
            Some(PathTest::Pattern(pattern)) => text.line("path", quote(pattern)),
            Some(PathTest::Regex(regex)) => text.line("path_regex", quote(regex)),
            None => {}
        }
        if let Some(host) = &self.host {
            text.line("host", quote(host));
        }
        if let Some(country) = &self.country {
            text.line("country", quote(country));
        }
        write_fields(text, "header", &self.headers);
        match &self.action {
            Some(Action::Redirect { status, target }) => {
                text.line("redirect", quote(target));
                text.line("status", status);
                text.line("keep_query", false);
            }
            Some(Action::Rewrite(target)) => text.line("rewrite", quote(target)),
            Some(Action::DirectoryIndex(object)) => text.line("directory_index", quote(object)),
            Some(Action::Deny) => text.line("deny", true),
            Some(Action::BasicAuth { realm, name, password }) => {
                // Passwords that bcrypt does not have are refused before.
                let hash = bcrypt::hash(password, COST).unwrap_or_default();
                let users = format!("{{ {} = {} }}", key(name), quote(&hash));
                text.line("basic_auth", format!("{{ realm = {}, users = {users} }}", quote(realm)));
            }
            None => {}
        }
        write_fields(text, "set_response_headers", &self.response_fields);
    }
}

fn write_fields(text: &mut Text, name: &str, fields: &[(String, String)]) {
    if !fields.is_empty() {
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{} = {}", key(name), quote(value)))
            .collect();
        text.line(name, format!("{{ {} }}", fields.join(", ")));
    }
}
