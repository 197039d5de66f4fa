//! The import report: each setting is carried over exactly, with a difference, or not at all.

use std::{cell::RefCell, collections::BTreeSet};

use serde::Serialize;
use serde_json::Value;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The path within the documents.
    pub path: String,
    /// The key that carries the setting, or a remark.
    pub text: String,
}

/// The import report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Settings with the same meaning here.
    pub exact: Vec<Note>,
    /// Settings carried over with a difference.
    pub different: Vec<Note>,
    /// Settings not carried over.
    pub dropped: Vec<Note>,
    /// Tasks required before the file can serve.
    pub to_do: Vec<String>,
}

/// Collects the report while documents are read. Unread parts are found at the end.
#[derive(Default)]
pub(super) struct Ledger {
    report: RefCell<Report>,
    read: RefCell<BTreeSet<String>>,
}

/// A part of a document. It records whether it was read.
#[derive(Clone)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: String,
    ledger: &'a Ledger,
    found: bool,
}

/// Keys that CloudFront writes next to `Items`.
const OF_LISTS: [&str; 3] = ["Quantity", "Enabled", "RestrictionType"];

/// The value of a missing part.
static NOTHING: Value = Value::Null;

impl Ledger {
    /// The root of a document.
    pub(super) fn root<'a>(&'a self, name: &str, value: &'a Value) -> Node<'a> {
        Node { value, path: name.to_owned(), ledger: self, found: true }
    }

    pub(super) fn to_do(&self, text: impl Into<String>) {
        let text = text.into();
        let mut report = self.report.borrow_mut();
        if !report.to_do.contains(&text) {
            report.to_do.push(text);
        }
    }

    /// Adds a line for each leaf below a document's root that has none: it was read without one, or not at all.
    pub(super) fn tell_unread(&self, root: &Node<'_>) {
        self.unread(root.value, &root.path, false);
    }

    fn unread(&self, value: &Value, path: &str, is_read: bool) {
        if says_nothing(value) || self.has_line(path) {
            return;
        }
        let is_read = is_read || self.read.borrow().contains(path);
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter().filter(|(key, _)| *key != "Quantity") {
                    self.unread(value, &join(path, key), is_read);
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    self.unread(value, &format!("{path}[{index}]"), is_read);
                }
            }
            leaf => {
                let mut report = self.report.borrow_mut();
                let path = path.to_owned();
                if is_read {
                    let text = format!("taken into account ({leaf})");
                    report.exact.push(Note { path, text });
                } else {
                    let text = format!("unknown setting, ignored ({leaf})");
                    let to_do =
                        format!("check whether {path} restricts access: Forebay ignores it");
                    report.dropped.push(Note { path, text });
                    report.to_do.push(to_do);
                }
            }
        }
    }

    /// Whether the report has a line for exactly this path.
    fn has_line(&self, path: &str) -> bool {
        let report = self.report.borrow();
        let mut notes = report.exact.iter().chain(&report.different).chain(&report.dropped);
        notes.any(|note| note.path == path)
    }

    pub(super) fn finish(self) -> Report {
        self.report.into_inner()
    }
}

/// Whether the value is equivalent to none: false, zero, empty, or made only of such values.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(says_nothing),
        Value::Object(fields) => fields.values().all(says_nothing),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() || path.ends_with(": ") {
        format!("{path}{key}")
    } else {
        format!("{path}.{key}")
    }
}

impl<'a> Node<'a> {
    /// The part with this key, which may be missing.
    pub(super) fn get(&self, key: &str) -> Self {
        let value = self.value.get(key);
        Self {
            value: value.unwrap_or(&NOTHING),
            path: join(&self.path, key),
            ledger: self.ledger,
            found: value.is_some(),
        }
    }

    /// The items of a list. CloudFront writes `{"Quantity": 1, "Items": […]}`, CloudFormation and other tools write an
    /// array.
    pub(super) fn items(&self) -> Vec<Self> {
        let list = if self.value.is_array() { self.clone() } else { self.get("Items") };
        let items = list.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let member = |(place, value)| Self {
            value,
            path: format!("{}[{place}]", list.path),
            ledger: self.ledger,
            found: true,
        };
        items.iter().enumerate().map(member).collect()
    }

    /// Whether an expected list is something else, or has fewer items than it declares. Its requirements are then
    /// unknown.
    pub(super) fn is_odd_list(&self) -> bool {
        let list = if self.value.is_array() { Some(self.value) } else { self.value.get("Items") };
        let members = match (self.value, list) {
            (Value::Null, _) => return false,
            (Value::Object(fields), None)
                if fields.keys().any(|key| !OF_LISTS.contains(&&**key)) =>
            {
                return true;
            }
            (Value::Array(_) | Value::Object(_), None | Some(Value::Null)) => 0,
            (_, Some(Value::Array(items))) => items.len() as u64,
            _ => return true,
        };
        let quantity = self.value.get("Quantity");
        quantity.is_some_and(|quantity| quantity.as_u64().is_none_or(|number| number > members))
    }

    /// The items of a list of strings.
    pub(super) fn strings(&self) -> Vec<&'a str> {
        self.items().iter().filter_map(Self::text).collect()
    }

    /// A non-empty string.
    pub(super) fn text(&self) -> Option<&'a str> {
        self.fits(self.value.as_str()).filter(|text| !text.is_empty())
    }

    /// Marks the part as read if it has the requested type. Otherwise it is reported at the end.
    fn fits<T>(&self, value: Option<T>) -> Option<T> {
        if value.is_some() {
            self.read();
        }
        value
    }

    /// A string, or an empty one: behaviors and groups refer to origins by such names.
    pub(super) fn text_or_default(&self) -> String {
        self.text().unwrap_or_default().to_owned()
    }

    /// A string that should be present, or `other` if it is missing.
    pub(super) fn text_or(&self, other: &'a str) -> &'a str {
        self.text().unwrap_or(other)
    }

    pub(super) fn number(&self) -> Option<u64> {
        // Some tools write numbers as strings. CloudFront itself does so for response codes.
        self.fits(self.value.as_u64().or_else(|| self.value.as_str()?.parse().ok()))
    }

    pub(super) fn fraction(&self) -> Option<f64> {
        self.fits(self.value.as_f64())
    }

    pub(super) fn flag(&self) -> bool {
        self.fits(self.value.as_bool()).unwrap_or_default()
    }

    /// Whether the flag may be true. Anything but a plain false counts as true if much depends on it.
    pub(super) fn may_be_true(&self) -> bool {
        let plainly_false = self.value.as_bool() == Some(false);
        self.read();
        self.found && !plainly_false
    }

    /// Whether the part is present and not empty.
    pub(super) fn is_said(&self) -> bool {
        self.found && !says_nothing(self.value)
    }

    /// Whether the part is present, with any value.
    pub(super) fn is_there(&self) -> bool {
        self.found
    }

    /// Reports a difference, if the part is present and not empty.
    pub(super) fn differs_if_said(&self, text: &str) {
        if self.is_said() {
            self.differs(text);
        }
    }

    /// Marks the part and everything below it as read.
    pub(super) fn read(&self) {
        self.ledger.read.borrow_mut().insert(self.path.clone());
    }

    pub(super) fn is_exact(&self, key: &str) {
        self.note(|report| &mut report.exact, key.to_owned());
    }

    pub(super) fn differs(&self, text: impl Into<String>) {
        self.note(|report| &mut report.different, text.into());
    }

    pub(super) fn is_dropped(&self, text: impl Into<String>) {
        self.note(|report| &mut report.dropped, text.into());
    }

    /// Reports parts that are present but have no meaning here, each with the reason.
    pub(super) fn drop_each<const N: usize>(&self, reasons: [(&str, &str); N]) {
        for (key, why) in reasons {
            let setting = self.get(key);
            if setting.is_said() {
                setting.is_dropped(why);
            }
        }
    }

    fn note(&self, list: impl Fn(&mut Report) -> &mut Vec<Note>, text: String) {
        self.read();
        let mut report = self.ledger.report.borrow_mut();
        let note = Note { path: self.path.clone(), text };
        if !list(&mut report).contains(&note) {
            list(&mut report).push(note);
        }
    }
}
