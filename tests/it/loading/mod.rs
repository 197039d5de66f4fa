//! The load generator: it sends the configured requests and counts the responses.

mod odd_servers;

use std::{num::NonZeroUsize, sync::atomic::AtomicBool, time::Duration};

use forebay::load::{
    self, Due, Http, Line, LoadEvent, Mix, Options, Pick, Report, Signer, Targets, Trust, Until,
};
use http::HeaderMap;
use rustls::pki_types::ServerName;
use serde_json::Value;

use crate::support::{
    bucket::Bucket,
    edge::{Edge, config_for},
    script::Script,
    viewer::pattern,
};

fn options(until: Until) -> Options {
    let number = |number| NonZeroUsize::new(number).expect("a number");
    Options {
        threads: number(2),
        connections: number(4),
        streams: number(8),
        due: Due::AtOnce,
        until,
        timeout: Duration::from_secs(5),
        fields: HeaderMap::new(),
        mix: Mix::default(),
        warm: true,
        command: "forebay load".into(),
    }
}

fn paths(paths: &[&str]) -> Vec<http::uri::PathAndQuery> {
    paths.iter().map(|path| path.parse().expect("a path")).collect()
}

/// Runs outside the server's threads.
async fn try_run(
    options: Options,
    line: Line,
    targets: Targets,
) -> std::io::Result<(Report, Value, usize)> {
    let running = tokio::task::spawn_blocking(move || {
        let (mut seconds, never) = (0, AtomicBool::new(false));
        let on_event =
            |event: LoadEvent<'_>| seconds += usize::from(matches!(event, LoadEvent::Second(_)));
        load::run(options, line, targets, &never, on_event).map(|report| (report, seconds))
    });
    let (report, seconds) = running.await.expect("no panic")?;
    let json = report.json();
    Ok((report, json, seconds))
}

async fn run(options: Options, line: Line, targets: Targets) -> (Report, Value, usize) {
    try_run(options, line, targets).await.expect("a report")
}

/// The error that prevents the run.
async fn refusal(options: Options, line: Line, targets: Targets) -> String {
    try_run(options, line, targets).await.err().expect("refused").to_string()
}

#[tokio::test]
async fn the_report_names_where_redirects_lead() {
    let bucket = Bucket::start().await;
    let text = config_for(bucket.address, "memory = \"32MiB\"", "");
    let edge = Edge::with(&(text + "viewer_protocol_policy = \"redirect-to-https\"\n"));
    let targets = Targets::new("http://media.example.com", paths(&["/a.jpg"]));
    let line = Line::clear(vec![edge.address], Http::One);
    let options = Options { warm: false, ..options(Until::Requests(20)) };
    let (report, json, _) = run(options, line, targets).await;
    assert_eq!(json["statuses"]["301"], 20, "{json}");
    assert_eq!(json["redirected_to"], "https://media.example.com/a.jpg");
    assert!(
        report.table().contains("https://media.example.com/a.jpg (redirects"),
        "{}",
        report.table()
    );
}

#[tokio::test]
async fn the_report_counts_the_requests_that_were_made() {
    let bucket = Bucket::start().await;
    bucket.put("a.jpg", "a");
    bucket.put("b.jpg", pattern(200_000));
    let edge = Edge::before(&bucket);
    let server = format!("http://{}", edge.address);
    let targets = Targets::new(&server, paths(&["/a.jpg", "/b.jpg"])).picked(Pick::Order);
    let line = Line::clear(vec![edge.address], Http::One);
    let (report, json, seconds) = run(options(Until::Requests(1_000)), line, targets).await;
    assert_eq!(json["requests"], 1_000);
    assert_eq!(json["statuses"]["200"], 1_000);
    assert_eq!(json["bytes"], 500 * 200_001);
    assert_eq!(json["hit_ratio"], 1.0, "it was warmed");
    assert_eq!(json["failures"], serde_json::json!({}));
    let counted: u64 = json["intervals"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|second| second["requests"].as_u64().expect("n"))
        .sum();
    assert!(counted == 1_000 && seconds >= 1, "{json}");
    let latency = |name: &str| json["latency"][name].as_f64().expect("a number");
    assert!(
        latency("min") > 0.0
            && latency("p50") <= latency("p99")
            && latency("p99") <= latency("max")
    );
    for part in [
        "requests    1,000, ",
        "hits        100.00%",
        "statuses    200: 1,000",
        "failures    none",
        "errors      0",
        "HTTP/1.1, 4 connections",
    ] {
        assert!(report.table().contains(part), "{part}\n{}", report.table());
    }
    let page = report.page();
    assert_eq!(page.matches("<svg").count(), 4);
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    // Only the warm-up reached the bucket.
    assert_eq!(bucket.gets().len(), 2);
}

#[tokio::test]
async fn ranges_and_conditions_are_mixed_in() {
    let bucket = Bucket::start().await;
    bucket.put("b.jpg", pattern(100_000));
    let edge = Edge::before(&bucket);
    let server = format!("http://{}", edge.address);
    let mix = Mix { ranges: 50.0, range_length: 1_000, conditions: 25.0 };
    let options = Options { mix, ..options(Until::Requests(2_000)) };
    let line = Line::clear(vec![edge.address], Http::One);
    let (_, json, _) = run(options, line, Targets::new(&server, paths(&["/b.jpg"]))).await;
    let count = |status: &str| json["statuses"][status].as_u64().expect("counted");
    assert!(count("206").abs_diff(1_000) < 150, "{json}");
    assert!(count("304").abs_diff(500) < 130, "{json}");
    assert_eq!(count("200") + count("206") + count("304"), 2_000);
    assert_eq!(json["bytes"], count("206") * 1_000 + count("200") * 100_000);
}

#[tokio::test]
async fn http2_with_tls_is_spoken_and_strangers_are_not_trusted() {
    let bucket = Bucket::start().await;
    bucket.put("a.jpg", "a");
    let folder = tempfile::tempdir().expect("folder");
    let made = rcgen::generate_simple_self_signed(vec!["media.example.com".to_owned()])
        .expect("certificate");
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("c.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let tls = format!(
        "workers = 2\nhttps = \"127.0.0.1:0\"\ntls = {{ certificate = {certificate:?}, key = {key:?} }}"
    );
    let text = config_for(bucket.address, "memory = \"32MiB\"", "").replace("workers = 2", &tls);
    let edge = Edge::with(&text);
    let address = edge.running().https[0];
    let line = |trust| {
        let name = ServerName::try_from("media.example.com").expect("a name");
        Line::encrypted(vec![address], Http::Two, name, trust).expect("a line")
    };
    let targets = || Targets::new("https://media.example.com", paths(&["/a.jpg"]));
    for trust in [Trust::File(&certificate), Trust::Any] {
        let (_, json, _) = run(options(Until::Requests(500)), line(trust), targets()).await;
        assert_eq!(
            (&json["statuses"]["200"], &json["protocol"]),
            (&500.into(), &"HTTP/2 with TLS".into())
        );
        assert_eq!(json["requests_in_progress"], 32);
    }
    let error = refusal(options(Until::Requests(5)), line(Trust::Native), targets()).await;
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn an_unsupported_protocol_is_reported_at_once() {
    let bucket = Bucket::start().await;
    let edge = Edge::before(&bucket);
    let targets = || Targets::new(&format!("http://{}", edge.address), paths(&["/a"]));
    let only_http1 = Script::start().await;
    let line = Line::clear(vec![only_http1.address], Http::Two);
    let error = refusal(options(Until::Requests(5)), line, targets()).await;
    assert!(error.contains("does not support HTTP/2 without TLS"), "{error}");
    let name = "one.example.com".try_into().expect("a name");
    let line = Line::encrypted(vec![edge.address], Http::One, name, Trust::Any).expect("a line");
    let error = refusal(options(Until::Requests(5)), line, targets()).await;
    assert!(error.contains("use an http:// URL"), "{error}");
}

#[tokio::test]
async fn urls_are_signed_as_the_edge_wants_them() {
    let bucket = Bucket::start().await;
    bucket.put("private/a.jpg", "a");
    let folder = tempfile::tempdir().expect("folder");
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256] {
        let pair = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let key = folder.path().join("key.pem");
        std::fs::write(&key, pair.serialize_pem()).expect("written");
        let public = pair.public_key_pem();
        std::fs::write(folder.path().join("public.pem"), &public).expect("written");
        let text = config_for(bucket.address, "memory = \"32MiB\"", "")
            + "trusted_key_groups = [\"team\"]\n[[key_group]]\nname = \"team\"\n"
            + &format!("[key_group.public_keys]\nK1 = \"\"\"\n{public}\"\"\"\n");
        let edge = Edge::with(&text);
        let signer = |id| Signer::open(&key, id, Duration::from_secs(600)).expect("a signer");
        let server = format!("http://{}", edge.address);
        for (id, status) in [("K1", "200"), ("K2", "403")] {
            let targets =
                Targets::new(&server, paths(&["/private/a.jpg?x=1"])).signed(Some(signer(id)));
            let options = Options { warm: false, ..options(Until::Requests(20)) };
            let line = Line::clear(vec![edge.address], Http::One);
            let (_, json, _) = run(options, line, targets).await;
            assert_eq!(json["statuses"][status], 20, "{json}");
        }
    }
    for id in ["", "K 1", "K1&x"] {
        let error = Signer::open(&folder.path().join("key.pem"), id, Duration::from_secs(1));
        let error = error.err().expect("refused").to_string();
        assert!(error.contains(&format!("`{id}` is not a valid key pair id")), "{error}");
    }
    let no_key = folder.path().join("public.pem");
    let error = Signer::open(&no_key, "K1", Duration::from_secs(1)).err().expect("refused");
    assert!(error.to_string().contains("public.pem"), "{error}");
}
