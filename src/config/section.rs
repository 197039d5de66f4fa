//! Reads a TOML table key by key.
//!
//! A [`Section`] records each key that is read: those are the known keys. Any other key in the table is a fault,
//! reported with the nearest known key.

mod numbers;

use std::{cell::RefCell, collections::BTreeSet, ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::advice::{advice, misplaced, nearest, table_of};
use super::fault::Collector;

/// A value with its position in the file.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// One table of the configuration.
pub(super) struct Section<'a> {
    /// The name, as in `[listen]` or `[[distribution.origin]]`.
    name: String,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    /// The keys that were read, which are the known ones.
    known: RefCell<Vec<&'static str>>,
    faults: &'a Collector,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a Spanned<DeTable<'a>>, faults: &'a Collector) -> Self {
        Self::new(String::new(), table.get_ref(), table.span(), faults)
    }

    fn new(
        name: String,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        faults: &'a Collector,
    ) -> Self {
        Self { name, table, span, known: RefCell::default(), faults }
    }

    /// The start of the table, for faults about missing keys.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(super) fn fault(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.faults.add(span, message, label, help);
    }

    /// The value, or a fault with the error.
    pub(super) fn valid<T>(
        &self,
        span: Range<usize>,
        value: Result<T, String>,
        label: &str,
    ) -> Option<T> {
        value.map_err(|message| self.fault(span, message, label, None)).ok()
    }

    /// Notes something that is valid but probably a mistake.
    pub(super) fn doubt(&self, text: String) {
        self.faults.doubts.borrow_mut().push(text);
    }

    /// Whether the key is present.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        self.table.get(key)
    }

    /// Records the type of a key, from which the reference is generated.
    #[cfg(test)]
    fn note(&self, key: &str, kind: &'static str) {
        self.faults.kinds.borrow_mut().entry(self.path(key)).or_default().insert(kind);
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "as with tests")]
    const fn note(&self, _key: &str, _kind: &'static str) {}

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let found = value.get_ref().type_str();
        self.fault(
            value.span(),
            format!("`{}` must be {expected}", self.path(key)),
            format!("this is {}", article(found)),
            None,
        );
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    pub(super) fn string(&self, key: &'static str) -> Option<Placed<&'a str>> {
        self.note(key, "string");
        let value = self.get(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, "a string");
        }
        text.map(|text| Placed { value: text, span: value.span() })
    }

    /// A required string.
    pub(super) fn required(&self, key: &'static str, help: &str) -> Option<Placed<&'a str>> {
        if !self.has(key) {
            self.fault(
                self.span(),
                format!("`{}` is missing", self.path(key)),
                "in this table",
                help.to_owned(),
            );
        }
        self.string(key)
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<Placed<bool>> {
        self.note(key, "true or false");
        let value = self.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(key, value, "true or false");
        }
        flag.map(|flag| Placed { value: flag, span: value.span() })
    }

    /// A size such as `"512MiB"`, in bytes.
    pub(super) fn size(&self, key: &'static str) -> Option<Placed<u64>> {
        self.note(key, "size");
        let value = self.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, "a string with a unit, such as \"512MiB\"");
            return None;
        };
        let has_unit = text.contains(|c: char| c.is_ascii_alphabetic());
        let problem = match text.parse::<bytesize::ByteSize>() {
            Ok(size) if has_unit => {
                return Some(Placed { value: size.as_u64(), span: value.span() });
            }
            Ok(_) => "has no unit",
            Err(_) => "is not a size",
        };
        let message = format!("`{}` {problem}", self.path(key));
        let help = "write, for example, \"512MiB\" or \"4GiB\"".to_owned();
        self.fault(value.span(), message, "expected a number with a unit", help);
        None
    }

    /// A duration such as `"30s"`, or a number of seconds.
    pub(super) fn duration(&self, key: &'static str) -> Option<Placed<Duration>> {
        self.note(key, "duration");
        let value = self.get(key)?;
        let parsed = match value.get_ref() {
            DeValue::Integer(seconds) => {
                u64::from_str_radix(seconds.as_str(), seconds.radix()).ok().map(Duration::from_secs)
            }
            DeValue::String(text) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        // CloudFront limits TTLs to 100 years; nothing here needs more.
        let longest = Duration::from_secs(100 * 365 * 86_400);
        let parsed = parsed.filter(|duration| *duration <= longest);
        if parsed.is_none() {
            self.fault(
                value.span(),
                format!("`{}` is not a duration", self.path(key)),
                "expected a number with a unit, or seconds",
                "write, for example, \"30s\", \"10m\", \"1day\", or 30".to_owned(),
            );
        }
        parsed.map(|duration| Placed { value: duration, span: value.span() })
    }

    /// A list of strings; a single string is a list of one.
    pub(super) fn strings(&self, key: &'static str) -> Option<Vec<Placed<&'a str>>> {
        self.note(key, "string or list of strings");
        let value = self.get(key)?;
        let list = match value.get_ref() {
            DeValue::String(text) => {
                return Some(vec![Placed { value: text.as_ref(), span: value.span() }]);
            }
            DeValue::Array(list) => list,
            _ => {
                self.wrong_type(key, value, "a string or a list of strings");
                return None;
            }
        };
        let mut strings = Vec::new();
        for item in list {
            match item.get_ref().as_str() {
                Some(text) => strings.push(Placed { value: text, span: item.span() }),
                None => self.wrong_type(key, item, "a list of strings"),
            }
        }
        Some(strings)
    }

    /// A list of whole numbers.
    pub(super) fn numbers(&self, key: &'static str) -> Vec<Placed<u64>> {
        self.note(key, "list of whole numbers");
        let list = self.get(key).and_then(|value| value.get_ref().as_array());
        let mut numbers = Vec::new();
        for item in list.into_iter().flatten() {
            let number = item.get_ref().as_integer();
            match number.and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok()) {
                Some(number) => numbers.push(Placed { value: number, span: item.span() }),
                None => self.wrong_type(key, item, "a list of whole numbers"),
            }
        }
        numbers
    }

    /// All strings of a table with arbitrary keys.
    pub(super) fn strings_by_name(&self) -> Vec<(&'a str, Placed<&'a str>)> {
        let mut strings = Vec::new();
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            // No custom header and no key pair has such a name.
            let own_table = table_of(name).filter(|_| name.contains('_'));
            let span = value.span();
            match (own_table, value.get_ref().as_str()) {
                (Some(table), _) => {
                    let message = format!("`{name}` does not belong to `{}`", self.name);
                    self.fault(span, message, "in the wrong table", misplaced(table));
                }
                (None, Some(value)) => strings.push((name, Placed { value, span })),
                (None, None) => self.wrong_type(name, value, "a string"),
            }
        }
        strings
    }

    /// A nested table.
    pub(super) fn table(&self, key: &'static str) -> Option<Section<'a>> {
        self.note(key, "table");
        let value = self.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, value, "a table");
        }
        table.map(|table| Section::new(self.path(key), table, value.span(), self.faults))
    }

    /// A list of tables; a single table is a list of one.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'a>> {
        self.note(key, "table");
        let Some(value) = self.get(key) else { return Vec::new() };
        let section = |value: &'a Spanned<DeValue<'a>>| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.wrong_type(key, value, "a table");
            }
            table.map(|table| Section::new(self.path(key), table, value.span(), self.faults))
        };
        match value.get_ref() {
            DeValue::Array(list) => list.iter().filter_map(section).collect(),
            _ => section(value).into_iter().collect(),
        }
    }

    /// Whether the key holds a string; for keys that take either a string or a table.
    pub(super) fn is_string(&self, key: &'static str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().is_str())
    }

    /// Whether the key holds a table.
    pub(super) fn is_table(&self, key: &'static str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// Reports the keys that have not been read so far.
    pub(super) fn unknown(&self) {
        let known = self.known.borrow();
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let is_table = match value.get_ref() {
                DeValue::Table(_) => true,
                DeValue::Array(items) => items.iter().any(|item| item.get_ref().is_table()),
                _ => false,
            };
            let help = advice(name, is_table, &known);
            let message = format!("unknown key `{}`", self.path(name));
            self.fault(key.span(), message, "not a known key", help);
        }
    }
}

/// The items of a list, each parsed by `parse`. For an invalid item, `fault` returns the message, a short label and the
/// fix.
pub(super) fn parse_each<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    fault: impl Fn(&str) -> (String, &'static str, String),
) -> Vec<T> {
    let mut parsed = Vec::new();
    for text in section.strings(key).unwrap_or_default() {
        match parse(text.value) {
            Some(value) => parsed.push(value),
            None => {
                let (message, label, help) = fault(text.value);
                section.fault(text.span, message, label, help);
            }
        }
    }
    parsed
}

/// An id that is well formed and not yet `taken`.
pub(super) fn check_id(
    section: &Section<'_>,
    id: Placed<&str>,
    taken: &mut BTreeSet<String>,
) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.value.is_empty() || id.value.len() > 64 || !id.value.chars().all(allowed) {
        let message = format!("`{}` is not a valid id", id.value);
        let help = "use 1 to 64 letters, digits, `-`, `_` or `.`".to_owned();
        section.fault(id.span, message, "not an id", help);
        return None;
    }
    if !taken.insert(id.value.to_owned()) {
        let message = format!("the id `{}` is already in use", id.value);
        section.fault(id.span, message, "choose another id", None);
        return None;
    }
    Some(id.value.to_owned())
}

/// Reports a reference to an undefined name.
pub(super) fn missing(section: &Section<'_>, name: Placed<&str>, kind: &str, known: &[&str]) {
    let help = match nearest(name.value, known) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => format!("add a {kind} with this name"),
        None => format!("use one of: {}", known.join(", ")),
    };
    section.fault(name.span, format!("there is no {kind} `{}`", name.value), "not defined", help);
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}
