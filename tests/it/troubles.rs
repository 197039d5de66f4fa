//! Failing origins: the viewer gets a synthetic 5xx, nothing is stored, and the log names the
//! fix.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_credential_types::Credentials as Keys;
use forebay::aws::Credentials;
use http::StatusCode;
use s3s::S3ErrorCode;

use crate::support::{
    bucket::{ACCESS_KEY, Bucket, SECRET_KEY},
    edge::{Edge, config_for},
    time::{arrive, eventually},
    viewer::{PATIENCE, Viewer, pattern},
};

const CACHE: &str = "memory = \"32MiB\"";

fn keys(id: &str, secret: &str) -> std::sync::Arc<Credentials> {
    let credentials = Credentials::new();
    credentials.install(&Keys::new(id, secret, None, None, "test")).expect("good keys");
    credentials
}

async fn fails_with(edge: &Edge, status: u16, detail: &str) {
    for _ in 0..2 {
        let answer = edge.get("/a.png").await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.field("cache-status"), format!("Forebay; detail={detail}"));
        assert_eq!(answer.x_cache(), "Error");
        let text = String::from_utf8_lossy(&answer.content).into_owned();
        assert!(text.starts_with(&status.to_string()) && !text.contains('<'), "{text}");
    }
    assert_eq!(edge.running().edge.store().usage().bytes, 0);
}

#[tokio::test]
async fn refused_credentials() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let text = config_for(bucket.address, CACHE, "");
    for credentials in
        [keys(ACCESS_KEY, "wrong"), keys("AKIDOTHER", SECRET_KEY), Credentials::new()]
    {
        let edge = Edge::with_credentials(&text, credentials);
        fails_with(&edge, 502, "origin-configuration").await;
    }
    assert!(bucket.gets().is_empty(), "no forged request reaches the handler");
}

#[tokio::test]
async fn newer_credentials_serve_at_once() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let text = config_for(bucket.address, CACHE, "");
    let edge = Edge::with_credentials(&text, keys(ACCESS_KEY, "wrong"));
    fails_with(&edge, 502, "origin-configuration").await;
    edge.credentials.install(&Bucket::keys()).expect("good keys");
    assert_eq!(edge.get("/a.png").await.content, "image");
}

#[tokio::test]
async fn a_wrong_clock_is_our_fault() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let edge = Edge::before(&bucket);
    edge.clock.advance(Duration::from_secs(20 * 60));
    fails_with(&edge, 502, "origin-configuration").await;
}

#[tokio::test]
async fn errors_of_s3_by_their_code() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let edge = Edge::before(&bucket);
    for (code, status, detail) in [
        (S3ErrorCode::ExpiredToken, 502, "origin-configuration"),
        (S3ErrorCode::AuthorizationHeaderMalformed, 502, "origin-configuration"),
        (S3ErrorCode::PermanentRedirect, 502, "origin-configuration"),
        (S3ErrorCode::NoSuchBucket, 502, "origin-configuration"),
        (S3ErrorCode::SlowDown, 503, "origin-throttled"),
    ] {
        bucket.fail_with(Some(code));
        fails_with(&edge, status, detail).await;
    }
    bucket.fail_with(None);
    // The throttled origin's pause ends.
    edge.clock.advance(Duration::from_secs(20));
    assert_eq!(edge.get("/a.png").await.content, "image");
}

#[tokio::test]
async fn throttled_requests_are_tried_again() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let edge = Edge::before(&bucket);
    bucket.fail_with(Some(S3ErrorCode::SlowDown));
    let asked = tokio::spawn(edge.viewer().get("/a.png"));
    bucket.asked(1).await;
    bucket.fail_with(None);
    assert_eq!(asked.await.expect("viewer").status, StatusCode::OK);
}

#[tokio::test]
async fn an_origin_that_cannot_be_reached() {
    // A port that was free a moment ago.
    let address =
        std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let edge = Edge::with(&config_for(address, CACHE, ""));
    fails_with(&edge, 502, "origin-connect").await;
    let text = config_for(address, CACHE, "")
        .replace(&format!("http://{address}"), "http://no-such-host.invalid")
        .replace("region =", "path_style = true\nregion =");
    fails_with(&Edge::with(&text), 502, "origin-dns").await;
    let text = config_for(address, CACHE, "").replace("http://127", "https://127");
    let tls = Bucket::start().await;
    let text = text.replace(&address.to_string(), &tls.address.to_string());
    fails_with(&Edge::with(&text), 502, "origin-tls").await;
}

#[tokio::test]
async fn an_origin_that_does_not_answer() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = silent.local_addr().expect("address");
    let text = config_for(address, CACHE, "")
        .replace("response_timeout = \"2s\"", "response_timeout = \"300ms\"");
    fails_with(&Edge::with(&text), 504, "origin-timeout").await;
}

#[tokio::test]
async fn a_hundred_viewers_of_a_failing_object_ask_once() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    bucket.fail_with(Some(S3ErrorCode::ExpiredToken));
    let edge = Edge::before(&bucket);
    let mut viewers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        viewers.spawn(edge.viewer().get("/a.png"));
    }
    while let Some(answer) = viewers.join_next().await {
        assert_eq!(answer.expect("viewer").status, StatusCode::BAD_GATEWAY);
    }
    assert!(bucket.gets().len() < 50, "{} requests", bucket.gets().len());
}

/// The real program with wrong credentials: the log names the fix and never
/// the secret.
#[tokio::test]
async fn the_log_says_what_to_do() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["serve", "--bucket", "media", "--region", "us-east-1", "--admin", "off"])
        .args(["--listen", &port.to_string(), "--endpoint", &format!("http://{}", bucket.address)])
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", "verysecretbutwrong")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let log = Arc::new(Mutex::new(String::new()));
    let (written, lines) = (Arc::clone(&log), program.stderr.take().expect("piped"));
    let reading = std::thread::spawn(move || {
        for line in BufReader::new(lines).lines() {
            let mut log = written.lock().expect("no panic");
            *log += &line.expect("text");
            *log += "\n";
        }
    });
    eventually(|| std::net::TcpStream::connect(port).is_ok()).await;
    for _ in 0..2 {
        assert_eq!(Viewer::new(port).get("/").await.status, StatusCode::FORBIDDEN);
    }
    // Before the credentials are loaded the response is also a 502, with another reason.
    let refused = async {
        while !log.lock().expect("no panic").contains("SignatureDoesNotMatch") {
            assert_eq!(Viewer::new(port).get("/a.png").await.status, StatusCode::BAD_GATEWAY);
            arrive().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("the refusal is logged");
    program.kill().expect("killed");
    program.wait().expect("ended");
    reading.join().expect("no panic");
    let log = log.lock().expect("no panic").clone();
    assert!(
        log.contains("the secret access key does not match the access key id: check both"),
        "{log}"
    );
    assert!(log.contains("SignatureDoesNotMatch"), "{log}");
    assert!(!log.contains("verysecret"), "{log}");
    let line = log.lines().find(|line| line.contains("SignatureDoesNotMatch")).expect("a line");
    for field in
        ["distribution=\"default\"", "bucket=\"media\"", "path=\"/a.png\"", "request_id=\""]
    {
        assert!(line.contains(field), "{field}: {line}");
    }
    // A hint is logged once.
    assert_eq!(log.matches("which names no object").count(), 1, "{log}");
    assert!(log.contains("default_root_object"), "{log}");
}

/// A bucket whose policy breaks after its objects are stored and stale.
async fn broken_policy(objects: usize, origin: &str) -> (Bucket, Edge) {
    let bucket = Bucket::start().await;
    let text = config_for(bucket.address, "memory = \"32MiB\"\nslice = \"64KiB\"", "")
        .replace("connect_attempts = 1", &format!("connect_attempts = 1\n{origin}"));
    let edge = Edge::with(&text);
    for n in 0..objects {
        bucket.put_with(&n.to_string(), format!("object {n}"), Some("max-age=60"));
        assert_eq!(edge.get(&format!("/{n}")).await.x_cache(), "Miss");
    }
    edge.clock.advance(Duration::from_secs(61));
    bucket.fail_with(Some(S3ErrorCode::AccessDenied));
    (bucket, edge)
}

async fn statuses(edge: &Edge, objects: std::ops::Range<usize>) -> Vec<u16> {
    let mut statuses = Vec::new();
    for n in objects {
        let answer = edge.get(&format!("/{n}")).await;
        if answer.status == 200 {
            assert_eq!(answer.content, format!("object {n}"));
        }
        statuses.push(answer.status.as_u16());
    }
    statuses
}

#[tokio::test]
async fn a_broken_bucket_policy_costs_no_copies() {
    let (bucket, edge) = broken_policy(60, "").await;
    let first = statuses(&edge, 0..60).await;
    let denied = first.iter().filter(|status| **status == 403).count();
    assert!(denied < 10, "{first:?}");
    // Objects denied before the detection have their stale copies, too.
    assert_eq!(statuses(&edge, 0..60).await, [200; 60]);
    let text = edge.metrics().await;
    let gauge = "forebay_origin_mass_denial{distribution=\"media\",origin=\"bucket\"}";
    assert!(text.contains(&format!("{gauge} 1")), "{text}");
    // A purge still removes a copy.
    edge.purge(&["/7"]).await;
    assert_eq!(statuses(&edge, 7..8).await, [403]);
    // A denial of a new object reaches the viewer.
    assert_eq!(edge.get("/unknown").await.status, 403);
    // The mass denial ends when the bucket serves again.
    bucket.fail_with(None);
    edge.clock.advance(Duration::from_secs(11));
    assert_eq!(statuses(&edge, 0..60).await, [200; 60]);
    assert!(edge.metrics().await.contains(&format!("{gauge} 0")));
}

#[tokio::test]
async fn copies_are_served_for_a_while_only() {
    let (_bucket, edge) = broken_policy(20, "stale_if_denied = \"5m\"").await;
    statuses(&edge, 0..20).await;
    assert_eq!(statuses(&edge, 0..20).await, [200; 20]);
    edge.clock.advance(Duration::from_secs(4 * 60));
    assert_eq!(statuses(&edge, 0..20).await, [200; 20]);
    edge.clock.advance(Duration::from_secs(60));
    assert_eq!(statuses(&edge, 0..20).await, [403; 20]);
    let (_bucket, edge) = broken_policy(20, "stale_if_denied = 0").await;
    assert_eq!(statuses(&edge, 0..20).await, [403; 20]);
    assert_eq!(statuses(&edge, 0..20).await, [403; 20]);
}

#[tokio::test]
async fn single_denials_are_believed() {
    let (bucket, edge) = broken_policy(5, "").await;
    assert_eq!(statuses(&edge, 0..5).await, [403; 5]);
    edge.clock.advance(Duration::from_secs(11));
    let asked = bucket.gets().len();
    for _ in 0..3 {
        assert_eq!(statuses(&edge, 0..5).await, [403; 5]);
    }
    // From the second time on, the denial itself is stored.
    assert_eq!(bucket.gets().len(), asked + 5);
}

#[tokio::test]
async fn a_denied_slice_does_not_cost_the_stored_ones() {
    let bucket = Bucket::start().await;
    bucket.put("large", pattern(300 << 10));
    let edge = Edge::before(&bucket);
    let part = |range| edge.viewer().field("range", range);
    assert_eq!(part("bytes=0-99").get("/large").await.status, 206);
    bucket.fail_with(Some(S3ErrorCode::AccessDenied));
    assert_eq!(part("bytes=200000-200099").get("/large").await.status, 403);
    assert_eq!(part("bytes=0-99").get("/large").await.x_cache(), "Hit");
}
