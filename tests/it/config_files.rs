//! The files under `config/`, and the program's errors about invalid ones.

use std::{path::Path, process::Command};

use forebay::config::Config;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    std::fs::read_to_string(path).expect(name)
}

#[test]
fn the_example_files_have_no_faults() {
    for name in ["minimal.toml", "example.toml", "cluster/forebay.toml"] {
        if let Err(faults) = Config::compile(name, &read(name), Path::new("")) {
            panic!("{:?}", miette::Report::new(faults));
        }
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
        "4 errors in the configuration",
        "faulty.toml:9:1",
        "unknown key `distribution.alias`",
        "did you mean `aliases`?",
        "`My Bucket` is not a valid bucket name",
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
