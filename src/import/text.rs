//! TOML text, formatted as a person would write it.

use std::fmt::Write;

pub(super) use crate::config::quote;

/// The text of a configuration file being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(String);

impl Text {
    /// Adds a table heading after a blank line.
    pub(super) fn heading(&mut self, heading: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.push(heading);
    }

    /// Adds a comment, wrapped into lines.
    ///
    /// TOML allows no control characters in comments.
    pub(super) fn comment(&mut self, comment: &str) {
        const WIDTH: usize = 100;
        let comment = comment.replace(char::is_control, " ");
        let mut line = String::from("#");
        for word in comment.split_whitespace() {
            if line.len() + word.len() > WIDTH {
                self.push(&line);
                "#".clone_into(&mut line);
            }
            let _ = write!(line, " {word}");
        }
        self.push(&line);
    }

    /// Adds a standalone comment before a heading.
    pub(super) fn remark(&mut self, comment: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.comment(comment);
    }

    /// Adds a key and its value, which is already TOML.
    pub(super) fn line(&mut self, key: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    pub(super) fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub(super) fn append(&mut self, other: &Self) {
        if !other.0.is_empty() && !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(&other.0);
    }

    /// Appends lines to the current table.
    pub(super) fn append_lines(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A list of strings.
pub(super) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(quote).collect();
    format!("[{}]", quoted.join(", "))
}

/// A key with an arbitrary name: bare if possible.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quote(name) }
}
