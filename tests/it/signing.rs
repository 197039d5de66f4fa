//! `forebay keys new` and `forebay sign`, and what `forebay explain` says about signatures.

use std::{os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    edge::{Edge, Lines},
    script::Script,
    viewer::Viewer,
};

fn forebay(folder: &Path, words: &[&str]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(words)
        .current_dir(folder)
        .output()
        .expect("run");
    let text = String::from_utf8(run.stdout).expect("text");
    assert!(run.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&run.stderr));
    text.trim_end().to_owned()
}

/// The block of the output between two lines.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).expect("a start");
    rest.split_once(to).expect("an end").0
}

async fn refused(edge: &Edge, url: &str) -> (String, String) {
    let admin = Viewer::new(edge.running().admin_address.expect("admin"));
    let request = json!({ "url": url }).to_string();
    let answer =
        admin.field("content-type", "application/json").send("POST", "/explain", request).await;
    let explained: Value = serde_json::from_slice(&answer.content).expect("JSON");
    let text = |name: &str| explained["refused"][name].as_str().unwrap_or_default().to_owned();
    (text("why"), text("fix"))
}

#[tokio::test]
async fn new_keys_sign_urls_and_cookies() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in ["rsa", "ecdsa"] {
        let dir = folder.path().join(kind);
        let dir = dir.to_str().expect("a path");
        let text =
            forebay(folder.path(), &["keys", "new", "--kind", kind, "--id", "K1", "--dir", dir]);
        let key = format!("{dir}/private_key.pem");
        let mode = std::fs::metadata(&key).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // The lines that the command prints are the configuration.
        let group = between(&text, "key group …\n\n", "\n\n…");
        let behavior = between(&text, "signature:\n\n", "\n");
        let script = Script::start().await;
        let lines = Lines { top: group, behavior, ..Lines::default() };
        let edge = Edge::before_script(&script, &lines);
        let sign = |words: &[&str]| {
            let key = ["--key", &key, "--key-pair-id", "K1"];
            forebay(folder.path(), &[&["sign"], words, &key].concat())
        };
        let site = "http://media.example.com";
        let path = |url: &str| url.strip_prefix(site).expect("the same site").to_owned();
        let viewer = || edge.viewer().field("host", "media.example.com");
        script.then(200, &["Cache-Control: max-age=60"], "a");
        let url = sign(&[&format!("{site}/été (1).jpg?x=1")]);
        assert_eq!(viewer().get(&path(&url)).await.status, StatusCode::OK, "{url}");
        let cookies =
            sign(&[&format!("{site}/"), "--resource", &format!("{site}/%C3%A9*"), "--cookies"]);
        let with_cookies = || viewer().field("cookie", &cookies);
        assert_eq!(with_cookies().get("/%C3%A9t%C3%A9%20(1).jpg").await.status, StatusCode::OK);
        assert_eq!(with_cookies().get("/other.jpg").await.status, StatusCode::FORBIDDEN);
        let elsewhere = sign(&[&format!("{site}/%C3%A9.jpg"), "--client", "192.0.2.0/24"]);
        assert_eq!(viewer().get(&path(&elsewhere)).await.status, StatusCode::FORBIDDEN);
        let (why, _) = refused(&edge, &elsewhere).await;
        assert_eq!(why, "the policy allows only 192.0.2.0/24");
    }
}

#[tokio::test]
async fn refused_signatures_are_explained_with_values_and_fix() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = forebay(folder.path(), &["keys", "new", "--id", "K1"]);
    let group = between(&text, "key group …\n\n", "\n\n…");
    let script = Script::start().await;
    let lines =
        Lines { top: group, behavior: "trusted_key_groups = [\"signers\"]", ..Lines::default() };
    let edge = Edge::before_script(&script, &lines);
    let sign = |url: &str, id: &str| {
        forebay(folder.path(), &["sign", url, "--key", "private_key.pem", "--key-pair-id", id])
    };
    let (why, fix) = refused(&edge, "http://media.example.com/a").await;
    assert!(why.contains("neither the URL nor the cookies contain a signature"), "{why}");
    assert!(fix.contains("forebay sign"), "{fix}");
    let (why, _) = refused(&edge, &sign("http://media.example.com/a", "K2")).await;
    assert_eq!(why, "no trusted key group has a key with the ID `K2`; the trusted IDs are K1");
    // TLS ends in front of Forebay, so that it receives what was signed for https over http.
    let pasted = sign("https://media.example.com/a", "K1");
    let url = pasted.replace("https:", "http:");
    let (why, fix) = refused(&edge, &url).await;
    // Without an HTTPS listener, the URL as the application printed it arrives over http, too.
    assert_eq!(refused(&edge, &pasted).await, (why.clone(), fix.clone()));
    assert_eq!(
        why,
        "the signature is for https://media.example.com, but the request's URL is http://media.example.com/a"
    );
    assert!(fix.contains("set `public_scheme = \"https\"` in distribution media"), "{fix}");
    let url = url.replace("/a?", "/b?");
    let (why, fix) = refused(&edge, &url).await;
    assert_eq!(why, "the signature does not match key `K1` and the URL http://media.example.com/b");
    assert!(fix.contains("exactly this URL"), "{fix}");
    let url = sign("http://media.example.com/a", "K1");
    edge.clock.advance(Duration::from_secs(2 * 3600));
    let (why, _) = refused(&edge, &url).await;
    assert!(
        why.starts_with("the signature expired at 2") && why.contains(" ago; it is now 2"),
        "{why}"
    );
    assert_eq!(script.requests(), 0);
}

#[test]
fn nothing_is_overwritten_and_bad_input_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    forebay(folder.path(), &["keys", "new"]);
    let refuse = |words: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(words)
            .current_dir(folder.path())
            .output()
            .expect("run");
        assert!(!run.status.success(), "{words:?}");
        let text = String::from_utf8(run.stderr).expect("text");
        // Long lines are wrapped.
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(refuse(&["keys", "new"]).contains("existing keys are never overwritten"));
    assert!(refuse(&["keys", "new", "--id", "a b"]).contains("`a b` is not a valid key ID"));
    let key = ["--key", "private_key.pem", "--key-pair-id", "K1"];
    assert!(refuse(&[&["sign", "/a.jpg"], &key[..]].concat()).contains("`/a.jpg` is not a URL"));
    for (resource, expected) in [
        ("photos/*", "such as https://media.example.com/photos/*"),
        ("https://a/private/*", "does not cover the URL https://a/photos/cat.jpg"),
    ] {
        let words = ["sign", "https://a/photos/cat.jpg", "--resource", resource];
        assert!(refuse(&[&words, &key[..]].concat()).contains(expected), "{resource}");
    }
    let public = ["sign", "https://a/b", "--key", "public_key.pem", "--key-pair-id", "K1"];
    assert!(refuse(&public).contains("it has no private key in PEM"));
}
