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
        .args(["check", "--no-files", "--config"])
        .arg(path)
        .output()
        .expect("run");
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said}");
    assert!(said.contains("distribution media: 3 origins for media.example.com"), "{said}");
}

/// Removes the lines in the middle of a PEM text, but keeps its end.
fn shortened(pem: &str) -> String {
    let lines: Vec<&str> = pem.lines().collect();
    [&lines[..3], &lines[lines.len() - 1..]].concat().join("\n")
}

/// Runs `check` on the minimal configuration, with more lines under `[listen]` and the origin.
fn check(folder: &Path, listen: &str, origin: &str) -> (bool, String) {
    let path = folder.join("forebay.toml");
    let text = read("minimal.toml")
        .replace("[listen]", &format!("[listen]\n{listen}"))
        .replace("region =", &format!("{origin}\nregion ="));
    std::fs::write(&path, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(["check", "--config"]).arg(path).env("NO_COLOR", "1");
    let run = command.output().expect("run");
    (run.status.success(), String::from_utf8_lossy(&run.stderr).into_owned())
}

#[test]
fn check_reads_the_files_that_a_configuration_names() {
    const LISTEN: &str =
        "https = \"127.0.0.1:8443\"\ntls = { certificate = \"cert.pem\", key = \"key.pem\" }";
    let folder = tempfile::tempdir().expect("folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let other_key = rcgen::KeyPair::generate().expect("key").serialize_pem();
    let cut = &certificate[..certificate.len() / 2];
    for (certificate, key, expected) in [
        (&*certificate, &*key, None),
        (cut, &key, Some("the PEM text is cut off: `-----END CERTIFICATE-----` is missing")),
        (&shortened(&certificate), &key, Some("certificate 1 of 1 ends in the middle")),
        (&certificate, &shortened(&key), Some("the private key ends in the middle")),
        (&certificate, &other_key, Some("does not match the certificate")),
        (&key, &certificate, Some("the file has no PEM certificate")),
    ] {
        std::fs::write(folder.path().join("cert.pem"), certificate).expect("written");
        std::fs::write(folder.path().join("key.pem"), key).expect("written");
        let (is_good, said) = check(folder.path(), LISTEN, "");
        assert_eq!(is_good, expected.is_none(), "{said}");
        assert!(said.contains(expected.unwrap_or_default()), "{said}");
    }
    std::fs::write(folder.path().join("ca.pem"), shortened(&certificate)).expect("written");
    let (is_good, said) = check(folder.path(), "", "ca_file = \"ca.pem\"");
    assert!(!is_good && said.contains("ca.pem"), "{said}");
}
