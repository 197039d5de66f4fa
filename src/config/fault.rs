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

fn count(faults: usize) -> String {
    if faults == 1 { "one error".into() } else { format!("{faults} errors") }
}

/// Collects faults while the configuration is read.
pub(super) struct Collector {
    source: NamedSource<String>,
    faults: RefCell<Vec<Fault>>,
    /// The types of the keys that were read.
    #[cfg(test)]
    pub(super) kinds:
        RefCell<std::collections::BTreeMap<String, std::collections::BTreeSet<&'static str>>>,
}

impl Collector {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let source = NamedSource::new(name, text.to_owned()).with_language("TOML");
        Self {
            source,
            faults: RefCell::default(),
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
