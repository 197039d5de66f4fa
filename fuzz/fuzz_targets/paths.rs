//! Paths against behaviors: each path is routed to the behavior that matches an origin's lenient reading of it.

#![no_main]

use std::{path::Path, sync::LazyLock};

use forebay::{base::metrics::Metrics, config::Config, proxy::Distribution};
use libfuzzer_sys::fuzz_target;

const CONFIG: &str = r#"
[listen]
http = "127.0.0.1:0"
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "bucket"
bucket = "media"
region = "us-east-1"
[[distribution.origin]]
id = "app"
url = "http://127.0.0.1:1"
[distribution.default_behavior]
origin = "app"
cache_policy = "CachingOptimized"
[[distribution.behavior]]
path_pattern = "/private/*"
origin = "bucket"
cache_policy = "CachingOptimized"
[[distribution.behavior]]
path_pattern = "/it's/*"
origin = "app"
cache_policy = "CachingOptimized"
[[distribution.behavior]]
path_pattern = "*.key"
origin = "bucket"
cache_policy = "CachingOptimized"
"#;

static DISTRIBUTION: LazyLock<Distribution> = LazyLock::new(|| {
    let config = Config::compile("fuzz.toml", CONFIG, Path::new("")).expect("no faults");
    let options = config.distributions.into_iter().next().expect("one");
    Distribution::new(options.settings, Vec::new(), None, Metrics::new().distribution("media"))
});

/// A lenient origin's reading of a path: it merges slashes and treats all spellings of a slash as one.
fn read_generously(sent: &str) -> String {
    let spellings = ["\\", "%5C", "%5c", "%2F", "%2f"];
    let slashes = spellings.iter().fold(sent.to_owned(), |text, slash| text.replace(slash, "/"));
    let decoded = percent_encoding::percent_decode_str(&slashes).decode_utf8_lossy();
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = decoded.split('/').collect();
    let is_folder = segments.last().is_some_and(|last| matches!(*last, "" | "." | ".."));
    for segment in segments.into_iter().filter(|segment| !matches!(*segment, "" | ".")) {
        if segment == ".." {
            kept.pop();
        } else {
            kept.push(segment);
        }
    }
    let end = if is_folder && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

fuzz_target!(|raw: &str| {
    let Ok((path, behavior)) = DISTRIBUTION.route(raw) else { return };
    let mut sent = String::new();
    path.encode_for_server(&mut sent);
    let read = read_generously(&sent);
    let selected = DISTRIBUTION.settings.behaviors.select(&read);
    assert!(
        std::sync::Arc::ptr_eq(selected, behavior),
        "{raw:?} is sent as {sent} and read as {read}"
    );
    assert!(path.as_str().split('/').all(|segment| segment != "." && segment != ".."));
});
