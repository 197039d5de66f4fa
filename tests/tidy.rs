//! The project's structure: module order, import cycles, lengths, banned words, sleeps in tests.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Item, UseTree, Visibility,
    visit::{self, Visit},
};

/// The modules in dependency order, lowest first. A file uses only its own module and earlier ones; a path belongs
/// to the longest name that fits.
const ORDER: [&str; 45] = [
    "base",
    "tls",
    "http",
    "quic",
    "cache::key",
    "cache::policy",
    "cache::digest",
    "cache::prefetch",
    "cache::table",
    "cache::memfd",
    "cache::disk",
    "cache::store",
    "cache",
    "handover",
    "access",
    "access_log",
    "statistics",
    "behavior",
    "cluster",
    "aws",
    "outbound",
    "traces",
    "log_delivery",
    "acme",
    "origin",
    "peers",
    "proxy::response",
    "proxy::request",
    "proxy::compressor",
    "proxy::context",
    "proxy::fetch",
    "proxy::respond",
    "proxy",
    "server",
    "control",
    "config",
    "app",
    "import",
    "setup",
    "doctor",
    "load",
    "diff",
    "simulate",
    "demo",
    "cli",
];

/// The position of a path's module in the order.
fn rank(path: &[String]) -> Option<usize> {
    let is_in = |room: &str| {
        let mut names = path.iter();
        room.split("::").all(|part| names.next().is_some_and(|name| name == part))
    };
    let rooms = ORDER.iter().enumerate().filter(|(_, room)| is_in(room));
    rooms.max_by_key(|(_, room)| room.len()).map(|(place, _)| place)
}

/// Limits for the length of a file without its tests, and of a function.
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

/// A source file, without its tests.
struct Source {
    path: PathBuf,
    /// Its module path: `["edge", "fetch"]`.
    module: Vec<String>,
    lines: usize,
    items: Vec<Item>,
}

impl Source {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).expect("text");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let file = syn::parse_file(code).expect("a source file of Rust");
        let inside = path.strip_prefix(root().join("src")).expect("inside").with_extension("");
        let mut module: Vec<String> =
            inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            module.pop();
        }
        Self { path, module, lines: code.lines().count(), items: file.items }
    }

    /// The imported paths, from the root of the crate; no re-exports.
    fn imports(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        for item in &self.items {
            if let Item::Use(import) = item
                && matches!(import.vis, Visibility::Inherited)
            {
                expand(&import.tree, &mut Vec::new(), &mut found);
            }
        }
        found.into_iter().filter_map(|path| self.resolve(&path)).collect()
    }

    /// All paths of this crate that the file names, in imports, re-exports and code.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Paths::default();
        for item in &self.items {
            paths.visit_item(item);
        }
        paths.0.into_iter().filter_map(|path| self.resolve(&path)).collect()
    }

    /// The re-exported paths, by name.
    fn re_exports(&self) -> Vec<(String, Vec<String>)> {
        let mut found = Vec::new();
        for item in &self.items {
            if let Item::Use(export) = item
                && !matches!(export.vis, Visibility::Inherited)
            {
                expand(&export.tree, &mut Vec::new(), &mut found);
            }
        }
        let named = |path: Vec<String>| {
            let name = path.last()?.clone();
            // In a module's own file, a path begins with a module below it.
            let path = self.resolve(&path).unwrap_or_else(|| [&self.module[..], &path].concat());
            Some((name, path))
        };
        found.into_iter().filter_map(named).collect()
    }

    /// A path from the root of the crate; `None` if it is of another crate.
    fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        let mut base = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        let mut rest = &path[1..];
        if path[0] == "super" {
            base.pop();
        }
        while rest.first().is_some_and(|part| part == "super") {
            base.pop();
            rest = &rest[1..];
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }
}

/// Paths as written in a file.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        expand(&import.tree, &mut Vec::new(), &mut self.0);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|part| part.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

fn expand(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            expand(&path.tree, before, found);
            before.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                expand(tree, before, found);
            }
        }
        UseTree::Name(name) => found.push([&before[..], &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => found.push([&before[..], &[name.ident.to_string()]].concat()),
        UseTree::Glob(_) => found.push(before.clone()),
    }
}

fn sources() -> Vec<Source> {
    files(&root().join("src"), ".rs").into_iter().map(Source::read).collect()
}

#[test]
fn rooms_use_only_those_below_them() {
    let mut seen = 0;
    for source in sources() {
        if source.module.is_empty() {
            continue;
        }
        let name = source.module.join("::");
        let own =
            rank(&source.module).unwrap_or_else(|| panic!("`{name}` has no place in the order"));
        for import in source.paths() {
            // A module's own file lists its contents, and `pub(super)` names the module.
            if import.starts_with(&source.module) || source.module.starts_with(&import) {
                continue;
            }
            let Some(other) = rank(&import) else { continue };
            seen += 1;
            assert!(other <= own, "`{name}` uses `{}`, which is above it", import.join("::"));
        }
    }
    assert!(seen > 800, "only {seen} uses were found: the search is broken");
}

/// A module's own file (`mod.rs`) is left out; its re-exports count for the files that define them.
#[test]
fn files_do_not_import_each_other_in_circles() {
    let sources = sources();
    let index: HashMap<&[String], usize> =
        sources.iter().enumerate().map(|(at, source)| (&source.module[..], at)).collect();
    let exported: HashMap<Vec<String>, Vec<String>> = sources
        .iter()
        .flat_map(|source| {
            let named = |(name, path)| ([&source.module[..], &[name]].concat(), path);
            source.re_exports().into_iter().map(named)
        })
        .collect();
    let target = |import: &[String]| {
        let import = exported.get(import).map_or(import, |path| &path[..]);
        (1..=import.len()).rev().find_map(|length| index.get(&import[..length]).copied())
    };
    let uses: Vec<BTreeSet<usize>> = sources
        .iter()
        .enumerate()
        .map(|(own, source)| {
            let targets = source.imports().into_iter().filter_map(|import| target(&import));
            targets
                .filter(|at| *at != own && !source.module.starts_with(&sources[*at].module))
                .collect()
        })
        .collect();
    let count: usize = uses.iter().map(BTreeSet::len).sum();
    assert!(count > 500, "only {count} uses were found: the search is broken");
    // Files that use none of the remaining ones are removed until there are no more.
    let mut left: BTreeSet<usize> = (0..sources.len()).collect();
    while let Some(done) = left.iter().copied().find(|at| uses[*at].is_disjoint(&left)) {
        left.remove(&done);
    }
    let tied = |at: &usize| {
        let names = uses[*at].intersection(&left).map(|other| sources[*other].module.join("::"));
        format!("{} uses {}", sources[*at].module.join("::"), names.collect::<Vec<_>>().join(", "))
    };
    let circles: Vec<String> = left.iter().map(tied).collect();
    assert!(circles.is_empty(), "circles among:\n{}", circles.join("\n"));
}

#[test]
fn architecture_names_every_room() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("text");
    for room in ORDER {
        assert!(text.contains(&format!("| `{room}` |")), "{room}");
    }
}

/// The longest function of a file, by its name and its length in lines.
#[derive(Default)]
struct Longest(Option<(String, usize)>);

impl Longest {
    fn see(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (name, first) = (&signature.ident, signature.fn_token.span.start().line);
        let length = block.brace_token.span.close().end().line - first + 1;
        if self.0.as_ref().is_none_or(|(_, longest)| length > *longest) {
            self.0 = Some((name.to_string(), length));
        }
    }
}

impl<'ast> Visit<'ast> for Longest {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.see(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.see(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

#[test]
fn files_and_functions_stay_short() {
    let mut functions = 0;
    for Source { path, lines, items, .. } in sources() {
        let path = path.display();
        assert!(lines <= MAX_FILE, "{path} has {lines} lines");
        let mut longest = Longest::default();
        for item in &items {
            longest.visit_item(item);
        }
        let Some((name, length)) = longest.0 else { continue };
        functions += 1;
        assert!(length <= MAX_FUNCTION, "{path}: `{name}` has {length} lines");
    }
    assert!(functions > 150, "functions in {functions} files only: the search is broken");
}

#[test]
fn no_banned_words() {
    // Split in two, or this file would be its own first finding.
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

#[test]
fn tests_wait_only_in_ways_that_have_names() {
    // Split in two, like the banned words.
    let sleep = ["time::", "sleep("].concat();
    for path in files(&root().join("tests/it"), ".rs") {
        let text = fs::read_to_string(&path).expect("text");
        let is_support = path.parent().is_some_and(|folder| folder.ends_with("support"));
        assert!(is_support || !text.contains(&sleep), "{} sleeps", path.display());
    }
}
