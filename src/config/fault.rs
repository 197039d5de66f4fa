//! Configuration faults: location, problem and fix.

use std::{cell::RefCell, ops::Range};

use miette::{Diagnostic, NamedSource, SourceSpan};

/// One fault.
#[derive(Clone, Debug, Diagnostic, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    message: String,
    #[label("{label}")]
    span: SourceSpan,
    label: String,
    #[help]
    help: Option<String>,
    #[source_code]
    source_code: NamedSource<String>,
}

impl Fault {
    /// The description of the fault.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The fix.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The location, as a byte range of the file.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.offset()..self.span.offset() + self.span.len()
    }
}

/// All faults in one configuration.
#[derive(Debug, Diagnostic, thiserror::Error)]
#[error("{} in the configuration", count(faults.len()))]
pub struct Faults {
    /// The faults, in file order.
    #[related]
    pub faults: Vec<Fault>,
}

/// The text without private keys and the values of keys such as `secret_access_key`, which do not belong in the file
/// and would get into a terminal or a log. Every character keeps its place.
fn without_secrets(text: &str) -> String {
    const BEGIN: &str = "PRIVATE KEY-----";
    let mut secrets: Vec<Range<usize>> = Vec::new();
    let begins =
        |at: usize| text[..at].rfind("-----").map(|at| text[at..].starts_with("-----BEGIN"));
    for (at, _) in text.match_indices(BEGIN).filter(|(at, _)| begins(*at) == Some(true)) {
        let from = at + BEGIN.len();
        let length = text[from..].find("-----END").unwrap_or(text.len() - from);
        secrets.push(from..from + length);
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let value = line.split_once('=').filter(|(key, _)| is_secret(key));
        secrets.extend(value.map(|(key, _)| start + key.len()..start + line.len()));
        start += line.len();
    }
    for (at, _) in text.match_indices("://") {
        // A password in a URL: between the colon and the `@` before its path.
        let rest = &text[at + 3..];
        let rest = &rest[..rest.find(['"', '\'', '/', '\n', ' ']).unwrap_or(rest.len())];
        if let Some((user, _)) = rest.rsplit_once('@')
            && let Some((name, _)) = user.split_once(':')
        {
            let from = at + 3 + name.len() + 1;
            secrets.push(from..at + 3 + user.len());
        }
    }
    let is_in_secret = |at: usize| secrets.iter().any(|secret| secret.contains(&at));
    // A character of several bytes stays, so that no other changes its place.
    let hide = |(at, c): (usize, char)| {
        if c.is_ascii_alphanumeric() && is_in_secret(at) { '*' } else { c }
    };
    text.char_indices().map(hide).collect()
}

/// Whether a key's value is a secret. `secret_file` and `secret_env` only name its place.
fn is_secret(key: &str) -> bool {
    let key = key.trim().trim_matches('"').to_ascii_lowercase();
    let names_place = key.ends_with("_file") || key.ends_with("_env");
    !names_place
        && ["secret", "password", "session_token", "private_key"]
            .iter()
            .any(|word| key.contains(word))
}

fn count(faults: usize) -> String {
    if faults == 1 { "one error".into() } else { format!("{faults} errors") }
}

/// Collects faults while the configuration is read.
pub(super) struct Collector {
    source: NamedSource<String>,
    faults: RefCell<Vec<Fault>>,
    /// Settings that are valid but probably a mistake.
    pub(super) doubts: RefCell<Vec<String>>,
    /// The types of the keys that were read.
    #[cfg(test)]
    pub(super) kinds:
        RefCell<std::collections::BTreeMap<String, std::collections::BTreeSet<&'static str>>>,
}

impl Collector {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let source = NamedSource::new(name, without_secrets(text)).with_language("TOML");
        Self {
            source,
            faults: RefCell::default(),
            doubts: RefCell::default(),
            #[cfg(test)]
            kinds: RefCell::default(),
        }
    }

    pub(super) fn add(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.faults.borrow_mut().push(Fault {
            message: message.into(),
            span: span.into(),
            label: label.into(),
            help: help.into(),
            source_code: self.source.clone(),
        });
    }

    pub(super) fn finish(self) -> Result<(), Faults> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.span.offset());
        // A value that is read twice is reported once.
        faults.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        if faults.is_empty() { Ok(()) } else { Err(Faults { faults }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_show_no_passwords_of_urls() {
        let text =
            "servers = [\"nats://user:s3cret@nats-1:4222\", \"nats://a@b\", \"http://h:80/x:y@z\"]";
        let hidden =
            "servers = [\"nats://user:******@nats-1:4222\", \"nats://a@b\", \"http://h:80/x:y@z\"]";
        assert_eq!(without_secrets(text), hidden);
    }

    #[test]
    fn excerpts_show_no_secrets() {
        let key = |body: &str, kind: &str| {
            format!("-----BEGIN {kind}PRIVATE KEY-----{body}-----END {kind}PRIVATE KEY-----")
        };
        let text = |hidden: [&str; 4]| {
            let [long, short, secret, password] = hidden;
            let (long, short) = (key(long, "RSA "), key(short, ""));
            format!(
                "a = \"é\"\nk = \"\"\"\n{long}\n\"\"\"\nj = \"{short}\"\n\
                 secret_access_key = \"{secret}\"\nsecret_env = \"NAME\"\npassword=\"{password}\"\nb = \"c\"\n"
            )
        };
        let whole = text(["\nMIIé/+=\nAb\n", "\\nMII\\n", "abc/d", "x"]);
        let hidden = text(["\n***é/+=\n**\n", "\\****\\*", "***/*", "*"]);
        assert_eq!(without_secrets(&whole), hidden);
    }
}
