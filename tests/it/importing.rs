//! CloudFront's documents become a configuration, and a report of what did not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use forebay::{
    config::Config,
    import::{Documents, Tls, import},
};
use serde_json::Value;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder).expect("cases").map(|entry| entry.expect("case").path()).collect();
    cases.sort();
    cases
}

/// Compares with the file, or, with UPDATE_GOLDEN set, writes it.
fn assert_golden(file: &Path, found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(file, found).expect("written");
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert_eq!(found, expected, "{} (UPDATE_GOLDEN=1 rewrites it)", file.display());
}

#[test]
fn distributions_become_configurations() {
    let cases = cases();
    assert!(cases.len() >= 12);
    let folder = tempfile::tempdir().expect("folder");
    for case in cases {
        let name = case.file_name().expect("name").to_string_lossy().into_owned();
        let output = folder.path().join(format!("{name}.toml"));
        let mut program = Command::new(env!("CARGO_BIN_EXE_forebay"));
        let run = program.args(["import", "cloudfront"]).arg(&case).arg("--output").arg(&output);
        let run = run.output().expect("run");
        let report = String::from_utf8(run.stdout).expect("text");
        let report = report.replace(&*output.to_string_lossy(), "forebay.toml");
        let toml = fs::read_to_string(&output).expect("file");
        assert_golden(&case.join("forebay.toml"), &toml);
        assert_golden(&case.join("report.txt"), &report);
        let serves = Config::compile("forebay.toml", &toml, Path::new("")).is_ok();
        let is_complete = !report.contains("Before it can serve");
        assert_eq!(run.status.success(), is_complete, "{name}");
        assert!(serves || !is_complete, "{name}");
    }
}

#[test]
fn a_file_that_is_there_is_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let output = folder.path().join("forebay.toml");
    fs::write(&output, "mine").expect("written");
    let case = &cases()[0];
    let run = |more: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_forebay"));
        program.args(["import", "cloudfront"]).arg(case).arg("--output").arg(&output).args(more);
        program.output().expect("run")
    };
    let refused = run(&[]);
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("is there already") && told.contains("--force"), "{told}");
    assert_eq!(fs::read_to_string(&output).expect("file"), "mine");
    run(&["--force"]);
    assert!(fs::read_to_string(&output).expect("file").contains("[[distribution]]"));
}

#[test]
fn what_is_no_document_is_told() {
    let read = |text: &str| {
        let files = [("a.json".to_owned(), text.to_owned())];
        Documents::read(&files).map(|_| ()).expect_err("refused").to_string()
    };
    assert!(read("{").contains("`a.json` is not JSON"));
    assert!(read("[]").contains("none of CloudFront's documents"));
    assert!(read(r#"{"DistributionList": {}}"#).contains("list of distributions"));
    assert!(
        read(r#"{"CachePolicy": {"Id": "x", "CachePolicyConfig": {}}}"#)
            .contains("no distribution")
    );
    assert!(read(&"[".repeat(100_000)).contains("not JSON"));
}

/// Each leaf of each document in turn is missing, or something else: nothing panics, and nothing that
/// wants signatures is served without them.
#[test]
fn whatever_stands_in_a_document_nothing_panics() {
    let others = ["null", "-1", "\"\\\"\\n[x]\\n\"", "[[]]", "{\"Items\": [1]}", "\"é*?\""];
    let others = others.map(|text| serde_json::from_str::<Value>(text).expect("json"));
    for case in cases() {
        let mut files: Vec<(String, String)> = Vec::new();
        for entry in fs::read_dir(&case).expect("case") {
            let path = entry.expect("entry").path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let text = fs::read_to_string(&path).expect("document");
                files.push((path.display().to_string(), text));
            }
        }
        let guarded = case.ends_with("signed-urls");
        for place in 0..files.len() {
            let document: Value = serde_json::from_str(&files[place].1).expect("json");
            for leaf in pointers(&document, "") {
                for other in &others {
                    let mut changed = document.clone();
                    *changed.pointer_mut(&leaf).expect("leaf") = other.clone();
                    let mut files = files.clone();
                    files[place].1 = changed.to_string();
                    let Ok(documents) = Documents::read(&files) else { continue };
                    let config = import(&documents, &Tls::Before).config;
                    // What stands in the place of the whole list of key groups says that there is none.
                    let is_about_all =
                        "/DistributionConfig/CacheBehaviors/Items/0/TrustedKeyGroups"
                            .starts_with(leaf.as_str());
                    if guarded && !is_about_all {
                        let signed = |config: &Config| {
                            config.distributions[0].settings.behaviors.ordered[0]
                                .1
                                .trusted
                                .is_some()
                        };
                        assert!(config.as_ref().is_none_or(signed), "{leaf}: {other}");
                    }
                }
            }
        }
    }
}

/// However many reasons there are to serve nobody, the file is one that serves nobody.
#[test]
fn reasons_to_serve_nobody_are_written_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import/django-media");
    let text = fs::read_to_string(folder.join("E2EXAMPLE12345.json")).expect("document");
    let document: Value = serde_json::from_str(&text).expect("json");
    for kind in ["none", "elsewhere"] {
        let mut document = document.clone();
        let config = &mut document["DistributionConfig"];
        config["Enabled"] = Value::Bool(false);
        config["ViewerMtlsConfig"] = serde_json::json!({"Mode": "required"});
        let countries = serde_json::json!({"RestrictionType": kind, "Items": ["AT"]});
        config["Restrictions"] = serde_json::json!({"GeoRestriction": countries});
        let files = [("a.json".to_owned(), document.to_string())];
        let imported = import(&Documents::read(&files).expect("documents"), &Tls::Before);
        assert_eq!(imported.toml.matches("allow = []").count(), 1, "{}", imported.toml);
        assert!(imported.config.is_some(), "{:?}", imported.report.to_do);
    }
}

fn pointers(value: &Value, at: &str) -> Vec<String> {
    let inner: Vec<String> = match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(key, value)| pointers(value, &format!("{at}/{key}"))).collect()
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(place, value)| pointers(value, &format!("{at}/{place}")))
            .collect(),
        _ => Vec::new(),
    };
    inner.into_iter().chain([at.to_owned()]).collect()
}
