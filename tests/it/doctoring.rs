//! `forebay doctor` against buckets that answer as AWS would.

use std::process::Command;

use forebay::cache::disk::DiskSpeed;

use crate::support::script::Script;

const LISTED: &str = "<ListBucketResult><Name>media</Name><Contents><Key>a b/caf\u{e9} &amp; co.jpg</Key></Contents></ListBucketResult>";
const XML: &str = "Content-Type: application/xml";

/// The transcript, starting at the origin, and whether the command succeeded.
async fn doctor(script: &Script, more: &[&str]) -> (String, bool) {
    let (text, well) = doctor_at(&format!("http://{}", script.address), more).await;
    let (_, origin) = text.split_once("origin bucket of distribution default\n").expect("origin");
    // The duration and the port differ on each run.
    let (_, after) = origin.split_once(")\n").expect("answered");
    (after.to_owned(), well)
}

async fn doctor_at(endpoint: &str, more: &[&str]) -> (String, bool) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_forebay"));
    program.args(["doctor", "--bucket", "media", "--region", "eu-central-1", "--endpoint"]);
    program.arg(endpoint).args(["--listen", "127.0.0.1:0", "--admin", "off"]).args(more);
    program.env("AWS_ACCESS_KEY_ID", "AKIDTEST").env("AWS_SECRET_ACCESS_KEY", "secret");
    let run = tokio::task::spawn_blocking(move || program.output().expect("run"));
    let run = run.await.expect("joined");
    (String::from_utf8(run.stdout).expect("text"), run.status.success())
}

fn error(code: &str, message: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")
}

#[tokio::test]
async fn all_is_well() {
    let script = Script::start().await;
    let denied = error("AccessDenied", "Access Denied");
    script
        .then(200, &[XML, "x-amz-bucket-region: eu-central-1"], LISTED)
        .then(206, &[], "x")
        .then(200, &[], "")
        .then(403, &[XML], &denied)
        .then(403, &[XML], &denied);
    let (text, well) = doctor(&script, &[]).await;
    let (findings, last) = text.split_at(text.trim_end().rfind('\n').expect("lines") + 1);
    assert_eq!(
        findings,
        "  ✔ this machine's clock and the origin's differ by 0 s
  ✔ the bucket is in eu-central-1
  ✔ the bucket can be listed (s3:ListBucket), so a missing object is a 404
  ✔ /a b/caf\u{e9} & co.jpg can be read with GET
  ✔ /a b/caf\u{e9} & co.jpg can be read with HEAD
  ✔ nobody can read this object without a signature
  ✔ nobody can list the bucket without a signature
"
    );
    assert!(last.starts_with("No problems found."), "{last}");
    assert!(well);
    assert!(!script.last().contains_key("authorization"));
}

#[tokio::test]
async fn a_bucket_of_another_region() {
    let script = Script::start().await;
    let fields = [XML, "x-amz-bucket-region: eu-west-1"];
    script.then(301, &fields, &error("PermanentRedirect", "elsewhere"));
    let (text, well) = doctor(&script, &[]).await;
    assert_eq!(
        text,
        "  ✔ this machine's clock and the origin's differ by 0 s
  ✖ the bucket is in eu-west-1, not in eu-central-1
      → set `region = \"eu-west-1\"`
One problem found.
"
    );
    assert!(!well);
}

#[tokio::test]
async fn rights_that_are_missing() {
    let script = Script::start().await;
    script.then(403, &[XML], &error("AccessDenied", "not s3:ListBucket"));
    script.then(403, &[XML], &error("AccessDenied", "not authorized to perform: kms:Decrypt"));
    script.then(403, &[XML], &error("AccessDenied", "no"));
    let (text, well) = doctor(&script, &["--sample", "a.jpg"]).await;
    assert_eq!(
        text,
        "  ✔ this machine's clock and the origin's differ by 0 s
  ! the bucket cannot be listed (s3:ListBucket): a missing object is a 403, like a forbidden one
      → allow s3:ListBucket on the bucket if missing objects should be 404
  ✖ /a.jpg: S3 answered 403 Forbidden AccessDenied
      → allow kms:Decrypt on the key that encrypts the bucket
  ✔ nobody can list the bucket without a signature
One problem found.
"
    );
    assert!(!well);
}

#[tokio::test]
async fn a_bucket_that_is_public() {
    let script = Script::start().await;
    script.then(200, &[XML], LISTED).then(206, &[], "x").then(200, &[], "");
    script.then(206, &[], "x").then(200, &[XML], LISTED);
    let (text, well) = doctor(&script, &[]).await;
    assert!(text.contains("✖ anyone can read this object without a signature"), "{text}");
    assert!(text.contains("✖ anyone can list the bucket without a signature"), "{text}");
    assert!(!well);
}

#[tokio::test]
async fn a_clock_that_is_wrong() {
    let script = Script::start().await;
    let long_ago = "Date: Sun, 06 Nov 1994 08:49:37 GMT";
    script.then(403, &[long_ago, XML], &error("RequestTimeTooSkewed", "too far"));
    let (text, well) = doctor(&script, &[]).await;
    assert!(text.contains(" s\n      → synchronize this machine's clock"), "{text}");
    assert!(text.contains("✖ S3 answered 403 Forbidden RequestTimeTooSkewed"), "{text}");
    assert!(!well);
}

#[tokio::test]
async fn nothing_to_read() {
    let script = Script::start().await;
    script.then(200, &[XML], "<ListBucketResult></ListBucketResult>");
    script.then(403, &[], "");
    let (text, well) = doctor(&script, &[]).await;
    assert!(text.contains("! the bucket has no object here"), "{text}");
    assert!(well);
}

/// S3 answers 403 for another account's bucket, and for every missing object without s3:ListBucket.
#[tokio::test]
async fn a_bucket_that_denies_everything_is_not_green() {
    let script = Script::start().await;
    let denied = error("AccessDenied", "Access Denied");
    script.then(403, &[XML], &denied).then(403, &[XML], &denied);
    let (text, well) = doctor(&script, &[]).await;
    assert!(text.contains("✖ nothing in this bucket could be read"), "{text}");
    assert!(text.contains("→ check the name of the bucket"), "{text}");
    assert!(text.ends_with("One problem found.\n"), "{text}");
    assert!(!well);
    script.then(403, &[XML], &denied).then(206, &[], "x").then(200, &[], "");
    script.then(403, &[XML], &denied).then(403, &[XML], &denied);
    let (text, well) = doctor(&script, &["--sample", "a.jpg"]).await;
    assert!(text.contains("No problems found.") && text.ends_with("(!).\n"), "{text}");
    assert!(well);
}

#[tokio::test]
async fn the_disk_cache() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().to_str().expect("text");
    let more = ["--cache-dir", path, "--cache-size", "256MiB"];
    let (text, _) = doctor_at("http://127.0.0.1:9", &more).await;
    assert!(text.contains("its files take 0 B of the capacity of 256.0 MiB"), "{text}");
    if DiskSpeed::measure(folder.path()).is_ok() {
        assert!(text.contains("its device writes "), "{text}");
    }
    for (name, content, expected) in [
        ("letter.txt", "dear", "is not empty and is not a disk cache: it has a file `letter.txt`"),
        (
            "super",
            "damaged",
            "Forebay would discard what is there, because its file `super` is missing or damaged",
        ),
    ] {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join(name), content).expect("written");
        let path = folder.path().to_str().expect("text");
        let more = ["--cache-dir", path, "--cache-size", "256MiB"];
        let (text, _) = doctor_at("http://127.0.0.1:9", &more).await;
        assert!(text.contains(expected), "{text}");
    }
    let more = ["--cache-dir", env!("CARGO_BIN_EXE_forebay"), "--cache-size", "256MiB"];
    let (text, _) = doctor_at("http://127.0.0.1:9", &more).await;
    assert!(text.contains("is not a directory"), "{text}");
    // The working directory of tests is the project's.
    let more = ["--cache-dir", "target-of-nothing", "--cache-size", "256MiB"];
    let (text, _) = doctor_at("http://127.0.0.1:9", &more).await;
    assert!(text.contains("target-of-nothing: its files take 0 B"), "{text}");
}
