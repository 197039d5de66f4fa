//! The files under `config/`, and the program's errors about invalid ones.

use std::{collections::BTreeSet, path::Path, process::Command};

use forebay::config::Config;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    std::fs::read_to_string(path).expect(name)
}

#[test]
fn the_example_files_have_no_faults() {
    for name in ["minimal.toml", "example.toml"] {
        if let Err(faults) = Config::compile(name, &read(name), Path::new("")) {
            panic!("{:?}", miette::Report::new(faults));
        }
    }
}

#[test]
fn the_example_documents_every_key() {
    let example = read("example.toml");
    let written: BTreeSet<&str> =
        example.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let mut keys = BTreeSet::new();
    for file in ["listen.rs", "policy.rs", "distribution.rs", "origin.rs"] {
        let text = std::fs::read_to_string(source.join(file)).expect(file);
        // A call of one of the section's readers reads each key.
        let readers = [
            "string",
            "required",
            "boolean",
            "number",
            "size",
            "duration",
            "strings",
            "table",
            "tables",
            "names",
            "list",
            "addresses",
            "networks",
            "flag",
            "word",
            "object",
            "selection",
            "headers",
            "status",
            "statuses",
            "percent",
            "rate",
            "codes",
            "callers",
            "sites",
            "field",
        ];
        for reader in readers {
            for call in text.split(&format!("{reader}(")).skip(1) {
                let arguments = call.split(')').next().unwrap_or_default();
                let quoted = arguments.split('"').nth(1).unwrap_or_default();
                let is_key = !quoted.is_empty()
                    && quoted.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                if is_key {
                    keys.insert(quoted.to_owned());
                }
            }
        }
    }
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        assert!(written.contains(key.as_str()), "`{key}` is not in config/example.toml");
    }
}

#[test]
fn check_reports_all_faults_with_place_and_mend() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("faulty.toml");
    let text = read("minimal.toml")
        .replace("my-media-bucket", "My Bucket")
        .replace("CachingOptimized", "CachingOptimised")
        .replace("aliases", "alias");
    std::fs::write(&path, text).expect("written");
    let run = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["check", "--config"])
        .arg(&path)
        .env("NO_COLOR", "1")
        .output()
        .expect("run");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success());
    for part in [
        "4 faults in the configuration",
        "faulty.toml:9:1",
        "unknown key `distribution.alias`",
        "did you mean `aliases`?",
        "`My Bucket` is not a bucket name",
        "did you mean `CachingOptimized`?",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[test]
fn check_says_what_a_good_file_serves() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.toml");
    let run = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["check", "--config"])
        .arg(path)
        .output()
        .expect("run");
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said}");
    assert!(said.contains("distribution media: 3 origins for media.example.com"), "{said}");
}
