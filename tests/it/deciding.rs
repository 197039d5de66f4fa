//! Each request is decided once over either protocol: one admission, one signature check, one count against a rate
//! limit and one lookup.

use bytes::Bytes;
use forebay::{
    access::signed::{canned_policy, encode},
    proxy::Steps,
};
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{KeyPair, SigningKey};
use tempfile::TempDir;

use crate::{
    front::{certificates, connect, tls_config},
    support::{
        bucket::Bucket,
        edge::Edge,
        viewer::{Answer, pattern, read},
    },
};

const HOST: &str = "one.example.com";

/// A persistent connection.
enum Line {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Line {
    async fn to(edge: &Edge, folder: &TempDir, alpn: &str) -> Self {
        let stream = connect(edge.running().https[0], folder, "one", HOST, alpn).await;
        let stream = TokioIo::new(stream.expect("handshake"));
        if alpn == "h2" {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), stream).await.expect("h2");
            tokio::spawn(connection);
            return Self::Http2(sender);
        }
        let (sender, connection) = http1::handshake(stream).await.expect("http/1.1");
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    async fn send(&mut self, method: Method, path: &str, field: Option<(&str, &str)>) -> Answer {
        let uri = match self {
            Self::Http1(_) => path.to_owned(),
            Self::Http2(_) => format!("https://{HOST}{path}"),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if matches!(self, Self::Http1(_)) {
            request = request.header("host", HOST);
        }
        if let Some((name, value)) = field {
            request = request.header(name, value);
        }
        let request = request.body(Full::default()).expect("a request");
        let response: Response<Incoming> = match self {
            Self::Http1(sender) => sender.send_request(request).await.expect("an answer"),
            Self::Http2(sender) => sender.send_request(request).await.expect("an answer"),
        };
        read(response).await
    }
}

fn counts(steps: &Steps) -> [usize; 3] {
    [&steps.admissions, &steps.signatures, &steps.lookups].map(forebay::proxy::Counter::get)
}

/// A request and its expected admissions, signature checks and lookups.
type Expected =
    (&'static str, Method, &'static str, Option<(&'static str, &'static str)>, u16, [usize; 3]);

const SIGNED: &str = "/signed/a.png?SIGNATURE";

const EXPECTED: [Expected; 17] = [
    ("miss", Method::GET, "/a.png", None, 200, [1, 0, 1]),
    ("hit", Method::GET, "/a.png", None, 200, [1, 0, 1]),
    ("HEAD", Method::HEAD, "/a.png", None, 200, [1, 0, 1]),
    ("HEAD of nothing stored", Method::HEAD, "/b.png", None, 200, [1, 0, 1]),
    ("range", Method::GET, "/a.png", Some(("range", "bytes=0-1")), 206, [1, 0, 1]),
    ("ranges", Method::GET, "/a.png", Some(("range", "bytes=0-1,3-4")), 206, [1, 0, 1]),
    ("no such range", Method::GET, "/a.png", Some(("range", "bytes=99-")), 416, [1, 0, 1]),
    ("304", Method::GET, "/a.png", Some(("if-none-match", "*")), 304, [1, 0, 1]),
    ("compressed first", Method::GET, "/a.css", Some(("accept-encoding", "br")), 200, [1, 0, 1]),
    ("compressed hit", Method::GET, "/a.css", Some(("accept-encoding", "br")), 200, [1, 0, 1]),
    ("sliced miss", Method::GET, "/large", None, 200, [1, 0, 1]),
    ("sliced hit", Method::GET, "/large", None, 200, [1, 0, 1]),
    ("signed miss", Method::GET, SIGNED, None, 200, [1, 1, 1]),
    ("signed hit", Method::GET, SIGNED, None, 200, [1, 1, 1]),
    ("unsigned", Method::GET, "/signed/a.png", None, 403, [1, 1, 0]),
    ("passed", Method::GET, "/passed/a.png", None, 200, [1, 0, 0]),
    // The error page has its own lookup.
    ("error page", Method::GET, "/missing", None, 404, [1, 0, 2]),
];

/// The counters count in debug builds only.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_request_is_decided_once() {
    for alpn in ["http/1.1", "h2"] {
        let Guarded { edge, certificates, signature, .. } = &guarded("").await;
        let mut line = Line::to(edge, certificates, alpn).await;
        for (what, method, path, field, status, expected) in EXPECTED {
            let before = counts(edge.running().edge.steps());
            let path = path.replace("SIGNATURE", signature);
            let answer = line.send(method, &path, field).await;
            let what = format!("{what} over {alpn}");
            assert_eq!(answer.status.as_u16(), status, "{what}");
            if what.contains("hit") {
                assert_eq!(answer.x_cache(), "Hit", "{what}");
            }
            let after = counts(edge.running().edge.steps());
            let taken: Vec<_> =
                after.iter().zip(before).map(|(after, before)| after - before).collect();
            assert_eq!(taken, expected, "{what}");
        }
    }
}

#[tokio::test]
async fn a_request_counts_once_against_a_rate_limit() {
    let limit =
        "[distribution.rate_limit]\nper_client = { requests = 1, per = \"1000s\", burst = 5 }\n";
    for alpn in ["http/1.1", "h2"] {
        let Guarded { edge, certificates, .. } = &guarded(limit).await;
        let mut line = Line::to(edge, certificates, alpn).await;
        let mut statuses = Vec::new();
        for path in ["/a.png", "/a.png", "/b.png", "/passed/a.png", "/a.png", "/a.png", "/b.png"] {
            statuses.push(line.send(Method::GET, path, None).await.status.as_u16());
        }
        assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429], "{alpn}");
    }
}

/// An edge that requires signatures for `/signed/*`.
struct Guarded {
    edge: Edge,
    _bucket: Bucket,
    certificates: TempDir,
    /// A query string that signs `/signed/a.png`.
    signature: String,
}

async fn guarded(limit: &str) -> Guarded {
    let bucket = Bucket::start().await;
    for key in ["a.png", "b.png", "signed/a.png", "passed/a.png"] {
        bucket.put(key, "image");
    }
    bucket.put("a.css", "a { color: #123456 }\n".repeat(100));
    bucket.put("large", pattern(200 << 10));
    bucket.put("sorry.html", "sorry");
    let (key, certificates) = (KeyPair::generate().expect("a key"), certificates());
    let text = tls_config(&bucket, &certificates)
        .replace("[[distribution]]", &format!(
            "[[key_group]]\nname = \"signers\"\n[key_group.public_keys]\nK1 = \"\"\"\n{}\"\"\"\n[[distribution]]",
            key.public_key_pem()
        ))
        .replace("memory = \"32MiB\"", "memory = \"32MiB\"\nslice = \"64KiB\"")
        .replace("[[distribution.origin]]", &format!(
            "{limit}[[distribution.custom_error_response]]\nerror_code = 404\nresponse_page_path = \"/sorry.html\"\n[[distribution.origin]]"
        ));
    let edge = Edge::with(&format!(
        r#"{text}
compress = true
[[distribution.behavior]]
path_pattern = "/signed/*"
origin = "bucket"
cache_policy = "CachingOptimized"
trusted_key_groups = ["signers"]
[[distribution.behavior]]
path_pattern = "/passed/*"
origin = "bucket"
cache_policy = "CachingDisabled"
"#
    ));
    let expires = 4_000_000_000;
    let policy = canned_policy(&format!("https://{HOST}/signed/a.png"), expires);
    let signature = encode(&key.sign(policy.as_bytes()).expect("signed"));
    let signature =
        format!("Expires={expires}&Signature={signature}&Key-Pair-Id=K1&Hash-Algorithm=SHA256");
    Guarded { edge, _bucket: bucket, certificates, signature }
}
