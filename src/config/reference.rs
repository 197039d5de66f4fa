//! Generates docs/configuration.md from config/example.toml and from the types that the sections read, and tests that it
//! is current.

use std::{collections::BTreeSet, fmt::Write, path::Path};

use toml::de::DeTable;

use super::{Config, fault::Collector, read, section::Section};

const EXAMPLE: &str = include_str!("../../config/example.toml");

/// A key of the example.
struct Key {
    name: String,
    value: String,
    comment: String,
    /// Its lines, as a range of bytes of the example.
    range: std::ops::Range<usize>,
    /// Whether the line says that the value is the default.
    is_marked: bool,
}

/// A table of the example with its keys, wherever the example shows them first.
struct Table {
    header: String,
    comment: String,
    keys: Vec<Key>,
}

impl Table {
    fn name(&self) -> &str {
        self.header.trim_matches(['[', ']'])
    }
}

/// The path of a key. All behaviors have the same keys.
fn path(table: &str, key: &str) -> String {
    format!("{table}.{key}").replace("distribution.behavior.", "distribution.default_behavior.")
}

/// The header of the table that lists a key.
fn header_for<'a>(header: &'a str, key: &str) -> &'a str {
    match header {
        "[[distribution.behavior]]" if key != "path_pattern" => "[distribution.default_behavior]",
        "[[distribution.behavior.rule]]" => "[[distribution.default_behavior.rule]]",
        header => header,
    }
}

fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut seen = BTreeSet::new();
    let (mut comment, mut at, mut header) = (Vec::new(), 0, "");
    let mut lines = EXAMPLE.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let start = at;
        at += line.len();
        let line = line.trim_end();
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim().to_owned());
        } else if line.starts_with('[') {
            header = line;
            let comment = std::mem::take(&mut comment).join(" ");
            if tables.iter().all(|table| table.header != header) {
                tables.push(Table { header: line.to_owned(), comment, keys: Vec::new() });
            }
        } else if let Some((name, value)) = line.split_once(" = ") {
            let mut value = value.to_owned();
            while value.matches("\"\"\"").count() == 1 {
                let more = lines.next().expect("the end of a text");
                at += more.len();
                value = format!("{value}\n{}", more.trim_end());
            }
            let is_marked = value.ends_with(" # default");
            let value = value.trim_end_matches(" # default").to_owned();
            let comment = std::mem::take(&mut comment).join(" ");
            let home = header_for(header, name);
            let table = tables.iter_mut().find(|table| table.header == home).expect("a table");
            if seen.insert(path(table.name(), name)) {
                let (name, range) = (name.to_owned(), start..at);
                table.keys.push(Key { name, value, comment, range, is_marked });
            }
        } else {
            comment.clear();
        }
    }
    tables
}

fn compile(text: &str) -> Result<Config, String> {
    let faults = |faults: super::Faults| {
        faults.faults.iter().map(|fault| fault.message().to_owned()).collect::<Vec<_>>().join("; ")
    };
    Config::compile("example.toml", text, Path::new("")).map_err(faults)
}

/// The configuration as text, without the numbers that differ each time.
fn settings(config: &Config) -> String {
    let text = format!("{config:?}");
    let mut parts = text.split("serial: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn replaced(key: &Key, text: &str) -> String {
    format!("{}{text}{}", &EXAMPLE[..key.range.start], &EXAMPLE[key.range.end..])
}

/// Other values of the same type, of which some may be valid.
fn other_values(kinds: &BTreeSet<&str>, value: &str) -> Vec<String> {
    if kinds.contains("true or false") {
        return vec![(value != "true").to_string()];
    }
    if kinds.contains("whole number") {
        return value.parse::<u64>().map(|number| (number + 1).to_string()).into_iter().collect();
    }
    if kinds.contains("number from 0 to 100") {
        return vec!["7".to_owned()];
    }
    [
        "3MiB",
        "300MiB",
        "1h 7s",
        "off",
        "127.0.0.1:1234",
        "serve",
        "nats://other:4222",
        "http://other:4318",
        "anyone",
    ]
    .map(|text| format!("\"{text}\""))
    .into()
}

/// The types of all keys, by path.
fn kinds() -> std::collections::BTreeMap<String, BTreeSet<&'static str>> {
    let collector = Collector::new("example.toml", EXAMPLE);
    let (table, errors) = DeTable::parse_recoverable(EXAMPLE);
    assert!(errors.is_empty(), "{errors:?}");
    read(&Section::root(&table, &collector), Path::new(""));
    let mut kinds = collector.kinds.borrow().clone();
    for kinds in kinds.values_mut() {
        // A size is read as text.
        if kinds.len() > 1 && kinds.contains("size") {
            kinds.remove("string");
        }
        // Read as one string first, so a list is an error.
        if kinds.contains("string") {
            kinds.remove("string or list of strings");
        }
    }
    kinds
}

const INTRODUCTION: &str = "# Configuration reference

<!-- Generated from config/example.toml and the types in src/config by
     `FOREBAY_WRITE=1 cargo nextest run reference`. Do not edit. -->

The configuration is one TOML file, by default `./forebay.toml`. `forebay init` writes one to start from,
[`config/example.toml`](../config/example.toml) shows every key, and `forebay check` reports all errors at once.
An unknown key is an error.

* **Credentials** never go in this file. Forebay looks for them where AWS's tools do: the environment, `~/.aws`, a
  container's or the machine's role.
* **Sizes** are strings with a unit: `\"512MiB\"` is 512 × 1,048,576 bytes, `\"512MB\"` is 512,000,000 bytes.
* **Durations** are strings with a unit, such as `\"30s\"`, `\"10m\"` or `\"1day\"`, or a number of seconds.
* **Lists of strings** may be written as a single string.
* **Paths** of files are relative to the configuration file.
* `forebay reload` applies the file. Keys marked *restart* need `forebay upgrade` or a restart; `forebay reload` names those that changed.
";

fn reference() -> String {
    let (kinds, whole) = (kinds(), compile(EXAMPLE).expect("no faults"));
    let mut text = INTRODUCTION.to_owned();
    for table in tables().iter().filter(|table| !table.keys.is_empty()) {
        let _ = write!(text, "\n## `{}`\n", table.header);
        if !table.comment.is_empty() {
            let _ = write!(text, "\n{}\n", table.comment);
        }
        text.push('\n');
        for key in &table.keys {
            let path = path(table.name(), &key.name);
            let none = BTreeSet::new();
            let kinds = kinds.get(&path).unwrap_or(&none);
            let kind = kinds.iter().copied().collect::<Vec<_>>().join(" or ");
            let kind = if kind.is_empty() { "string".to_owned() } else { kind };
            let without = compile(&replaced(key, ""));
            let is_required = without
                .as_ref()
                .is_err_and(|faults| faults.contains(&format!("{}` is missing", key.name)));
            let value = key.value.lines().next().unwrap_or_default();
            let value = if key.value.contains('\n') { "\"\"\"…\"\"\"" } else { value };
            let default = match key.is_marked {
                true => format!("default `{value}`"),
                false if is_required => format!("required, such as `{value}`"),
                false => format!("such as `{value}`"),
            };
            let others = other_values(kinds, &key.value).into_iter();
            let others =
                others.map(|other| compile(&replaced(key, &format!("{} = {other}\n", key.name))));
            let mut changed = [without].into_iter().chain(others).flatten();
            let restart = changed.any(|changed| !whole.changes_for_restart(&changed).is_empty());
            let restart = if restart { ", restart" } else { "" };
            let _ = writeln!(
                text,
                "* **`{}`** ({kind}, {default}{restart}): {}",
                key.name, key.comment
            );
        }
    }
    text
}

#[test]
fn the_example_marks_exactly_the_defaults() {
    let whole = settings(&compile(EXAMPLE).expect("no faults"));
    let mut wrong = Vec::new();
    for table in tables() {
        for key in table.keys {
            let without = compile(&replaced(&key, ""));
            let is_default = without.is_ok_and(|without| settings(&without) == whole);
            if key.is_marked != is_default {
                wrong.push(format!("{} {}: default is {is_default}", table.header, key.name));
            }
            if key.comment.is_empty() {
                wrong.push(format!("{} {} has no comment", table.header, key.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_example_shows_every_key() {
    let words: BTreeSet<&str> =
        EXAMPLE.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    let kinds = kinds();
    assert!(kinds.len() > 100, "{kinds:?}");
    for known in kinds.keys() {
        let name = known.rsplit('.').next().unwrap_or_default();
        let is_status = name.parse::<u16>().is_ok();
        assert!(is_status || words.contains(name), "{known} is not in config/example.toml");
    }
}

#[test]
fn the_reference_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let generated = reference();
    if std::env::var_os("FOREBAY_WRITE").is_some() {
        std::fs::write(&file, &generated).expect("written");
    }
    let current = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        current == generated,
        "docs/configuration.md is not current: FOREBAY_WRITE=1 cargo nextest run reference"
    );
}
