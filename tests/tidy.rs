//! What can be checked about the project's shape: module order, lengths, banned words.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lowest first; a module may use only those before it.
const ORDER: [&str; 28] = [
    "clock",
    "instance",
    "log",
    "metrics",
    "text",
    "body",
    "pages",
    "semantics",
    "encode",
    "key",
    "policy",
    "signed",
    "restrict",
    "access_log",
    "behavior",
    "store",
    "origin",
    "edge",
    "front",
    "admin",
    "config",
    "app",
    "import",
    "setup",
    "doctor",
    "load",
    "demo",
    "cli",
];

/// Pairs that reach up, each with its reason.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// Longest file without its tests, and longest function.
const MAX_FILE: usize = 400;
const MAX_FUNCTION: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

fn source() -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("text");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
        (path, code)
    };
    files(&root().join("src"), ".rs").into_iter().map(read).collect()
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("inside");
    let first = inside.components().next().expect("component").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Modules named by `crate::…` in a file, those inside `use crate::{…}` groups among them.
fn used(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in code.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let (mut depth, mut word, mut fresh) = (0, String::new(), true);
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => fresh = true,
                    _ if depth > 0 => {}
                    c if fresh && (c.is_ascii_lowercase() || c == '_') => word.push(c),
                    _ => {
                        if !word.is_empty() {
                            names.push(std::mem::take(&mut word));
                            fresh = false;
                        }
                    }
                }
                if fresh && c == ',' && !word.is_empty() {
                    names.push(std::mem::take(&mut word));
                }
            }
            if !word.is_empty() {
                names.push(word);
            }
        } else {
            names.push(part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect());
        }
    }
    names
}

#[test]
fn modules_use_only_those_below_them() {
    let rank = |name: &str| ORDER.iter().position(|module| *module == name);
    let mut seen = 0;
    for (path, code) in source() {
        let module = module_of(&path);
        if module == "lib" || module == "main" {
            continue;
        }
        let own = rank(&module).unwrap_or_else(|| panic!("`{module}` has no place in the order"));
        for name in used(&code) {
            let Some(other) = rank(&name) else { continue };
            seen += 1;
            let excepted = EXCEPTIONS.iter().any(|(from, to, _)| *from == module && *to == name);
            assert!(
                other <= own || excepted,
                "{} uses `{name}`, which is above it",
                path.display()
            );
        }
    }
    assert!(seen > 80, "only {seen} uses were found: the search is broken");
}

#[test]
fn architecture_names_every_module() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("text");
    for module in ORDER {
        assert!(text.contains(&format!("| `{module}` |")), "{module}");
    }
}

#[test]
fn files_and_functions_stay_short() {
    for (path, code) in source() {
        let lines: Vec<&str> = code.lines().collect();
        assert!(lines.len() <= MAX_FILE, "{} has {} lines", path.display(), lines.len());
        let mut begun: Option<(usize, usize, &str)> = None;
        for (number, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_function = [
                "fn ",
                "pub fn ",
                "async fn ",
                "pub async fn ",
                "pub(super) fn ",
                "pub(super) async fn ",
            ]
            .iter()
            .any(|start| line.trim_start().starts_with(start));
            if is_function && !line.trim_end().ends_with(';') && !line.contains('}') {
                begun = Some((number, indent, line));
            } else if let Some((start, at, name)) = begun
                && line.len() - line.trim_start().len() == at
                && line.trim() == "}"
            {
                let length = number - start + 1;
                assert!(
                    length <= MAX_FUNCTION,
                    "{}: {} has {length} lines",
                    path.display(),
                    name.trim()
                );
                begun = None;
            }
        }
    }
}

#[test]
fn no_banned_words() {
    // Spelled in two halves, or this file would be its own first finding.
    let banned = [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("un", "implemented!"),
        ("static.", "crates"),
        ("index.", "crates"),
        ("registry.", "npm"),
        ("pypi.", "org"),
        ("deb.", "debian"),
        ("/wo", "rk/"),
        ("utils", "::"),
        ("help", "ers::"),
    ];
    let mut checked = files(&root().join("src"), ".rs");
    checked.extend(files(&root().join("tests"), ".rs"));
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "Dockerfile",
        "tests/run",
    ] {
        checked.push(root().join(name));
    }
    for path in checked {
        let text = fs::read_to_string(&path).expect("text");
        for (one, two) in &banned {
            let word = format!("{one}{two}");
            assert!(!text.contains(&word), "`{word}` stands in {}", path.display());
        }
    }
}
