//! Every spelling of a path: none reaches an object without the access rights of its behavior.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::support::{
    edge::{Edge, LISTEN, Lines},
    script::Script,
    viewer::raw,
};

const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEA49EmvVPS5742rWsUnXEyZkGSzUL
JsDudZ1TbHM10XdT13wmmBL0HfxS4jTiAyZe47ONLOCwyU9kr6bBtgzOeg==
-----END PUBLIC KEY-----
";

/// An origin that reads paths leniently: it treats `\`, `%5C` and `%2F` as `/`, decodes every other
/// escape, merges slashes and resolves dot segments. It checks no signatures.
struct GenerousOrigin {
    address: SocketAddr,
    served: Arc<Mutex<Vec<String>>>,
    objects: Arc<Mutex<BTreeMap<String, String>>>,
}

impl GenerousOrigin {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let served = Arc::<Mutex<Vec<String>>>::default();
        let objects = Arc::<Mutex<BTreeMap<String, String>>>::default();
        let origin = Self { address, served: Arc::clone(&served), objects: Arc::clone(&objects) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (served, objects) = (Arc::clone(&served), Arc::clone(&objects));
                let service = service_fn(move |request: Request<Incoming>| {
                    let key = read_generously(request.uri().path());
                    let found = objects.lock().expect("lock").get(&key).cloned();
                    served.lock().expect("lock").push(key);
                    let status = if found.is_some() { 200 } else { 404 };
                    let response = Response::builder().status(status).header("etag", "\"a\"");
                    let content = Full::new(Bytes::from(found.unwrap_or_default()));
                    async move { response.body(content) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        origin
    }

    fn put(&self, key: &str, content: &str) {
        self.objects.lock().expect("lock").insert(key.to_owned(), content.to_owned());
    }

    fn served(&self) -> Vec<String> {
        self.served.lock().expect("lock").clone()
    }
}

fn read_generously(path: &str) -> String {
    let spellings = ["\\", "%5c", "%5C", "%2f", "%2F"];
    let read = spellings.iter().fold(path.to_owned(), |text, slash| text.replace(slash, "/"));
    let decoded = percent_encoding::percent_decode_str(&read).decode_utf8_lossy();
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/').filter(|segment| !matches!(*segment, "" | ".")) {
        if segment == ".." {
            kept.pop();
        } else {
            kept.push(segment);
        }
    }
    format!("/{}", kept.join("/"))
}

/// `/private/*` requires signatures and the default behavior is open, on the same origin.
fn guarded(origin: SocketAddr, is_bucket: bool) -> String {
    let place = if is_bucket {
        format!("bucket = \"media\"\nregion = \"x\"\nendpoint = \"http://{origin}\"")
    } else {
        format!("url = \"http://{origin}\"")
    };
    format!(
        r#"{LISTEN}
[[key_group]]
name = "signers"
[key_group.public_keys]
K1 = """
{KEY}"""
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "origin"
{place}
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
[[distribution.behavior]]
path_pattern = "/private/*"
origin = "origin"
cache_policy = "CachingOptimized"
trusted_key_groups = ["signers"]
[[distribution.behavior]]
path_pattern = "/it's/*"
origin = "origin"
cache_policy = "CachingOptimized"
trusted_key_groups = ["signers"]
"#
    )
}

async fn status(edge: &Edge, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = raw(edge.address, request.as_bytes()).await;
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn no_spelling_gets_around_a_signature() {
    for is_bucket in [true, false] {
        let origin = GenerousOrigin::start().await;
        let prefix = if is_bucket { "/media" } else { "" };
        origin.put(&format!("{prefix}/private/secret.txt"), "secret");
        origin.put(&format!("{prefix}/it's/secret.txt"), "secret");
        origin.put(&format!("{prefix}/open.txt"), "open");
        let edge = Edge::with(&guarded(origin.address, is_bucket));
        for path in ["/open.txt", "/%6fpen.txt", "/private/../open.txt", "//open.txt"] {
            assert_eq!(status(&edge, path).await, 200, "{path} bucket: {is_bucket}");
        }
        for path in [
            "/private/secret.txt",
            "//private/secret.txt",
            "/%2Fprivate/secret.txt",
            "/private%5csecret.txt",
            "/private\\secret.txt",
            "/%5cprivate%5csecret.txt",
            "///private/secret.txt",
            "/./private/secret.txt",
            "/open/../private/secret.txt",
            "/open/..%2fprivate/secret.txt",
            "/open/..\\private\\secret.txt",
            "/%70rivate/secret.txt",
            "/private%2fsecret.txt",
            "/x/%2e%2e//private/secret.txt",
            "/it's/secret.txt",
            "/it%27s/secret.txt",
            "/it%27s%2Fsecret.txt",
            "/./..//it%27s/secret.txt",
        ] {
            let got = status(&edge, path).await;
            assert!(matches!(got, 400 | 403), "{path} answered {got}, bucket: {is_bucket}");
        }
        let reached = origin.served();
        assert!(reached.iter().all(|key| !key.contains("secret")), "{reached:?}");
    }
}

/// Tries random spellings of paths around the guarded one. `FOREBAY_SEED` repeats a run.
#[tokio::test]
async fn an_unsigned_request_never_reaches_a_guarded_object() {
    let seed = std::env::var("FOREBAY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let pieces = [
        "/",
        "/",
        "//",
        "%2F",
        "%2f",
        "\\",
        "%5C",
        "%5c",
        "private",
        "%70rivate",
        "priv%61te",
        "it's",
        "it%27s",
        "secret.txt",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%25",
        "%252F",
        "%255c",
        "open",
        "é",
        "%ff",
        "?private/",
        ";",
        "%00",
        "%",
    ];
    for is_bucket in [true, false] {
        let origin = GenerousOrigin::start().await;
        let edge = Edge::with(&guarded(origin.address, is_bucket));
        for _ in 0..1_500 {
            let count = random.usize(1..10);
            let parts: Vec<&str> =
                (0..count).map(|_| pieces[random.usize(..pieces.len())]).collect();
            let path = format!("/{}", parts.concat());
            status(&edge, &path).await;
            let reached = origin.served();
            let prefix = if is_bucket { "/media" } else { "" };
            for guarded in ["/private/", "/it's/"] {
                let guarded = format!("{prefix}{guarded}");
                assert!(
                    !reached.iter().any(|key| key.starts_with(&guarded)),
                    "{path} reached {reached:?}: FOREBAY_SEED={seed}, bucket: {is_bucket}"
                );
            }
            origin.served.lock().expect("lock").clear();
        }
    }
}

#[tokio::test]
async fn plain_origins_get_the_path_as_it_was_sent() {
    let script = Script::start().await;
    let edge = Edge::before_script(&script, &Lines::default());
    for (path, expected) in [
        ("/@scope%2fpkg", "/@scope%2Fpkg"),
        (
            "/rs:fit:300:300/plain/https%3A%2F%2Fe.com%2Fa.jpg",
            "/rs:fit:300:300/plain/https%3A%2F%2Fe.com%2Fa.jpg",
        ),
        ("/filters:blur(5)/x", "/filters:blur(5)/x"),
        ("/hls/1080/../audio/seg1.ts", "/hls/audio/seg1.ts"),
        ("/p/a%2Fb", "/p/a%2Fb"),
        ("/p/a/b", "/p/a/b"),
    ] {
        script.then(200, &["Cache-Control: max-age=60"], path);
        assert_eq!(edge.get(path).await.content, path, "{path}");
        assert_eq!(script.last_target(), expected);
    }
    for path in ["/p/a%2Fb", "/p/a%2fb", "/p/a/b", "/%70/a/b"] {
        let answer = edge.get(path).await;
        assert_eq!(answer.x_cache(), "Hit", "{path}");
    }
    assert_eq!(edge.get("/p/a%2fb").await.content, "/p/a%2Fb");
    assert_eq!(
        edge.purge(&["/rs:fit:300:300/plain/https%3A%2F%2Fe.com%2Fa.jpg"]).await.status,
        200
    );
    script.then(200, &["Cache-Control: max-age=60"], "new");
    let again = edge.get("/rs:fit:300:300/plain/https%3A%2F%2Fe.com%2Fa.jpg").await;
    assert_eq!((again.x_cache(), &again.content[..]), ("Miss", &b"new"[..]));
}

#[tokio::test]
async fn a_purge_covers_copies_under_other_spellings() {
    for is_bucket in [true, false] {
        let origin = GenerousOrigin::start().await;
        let prefix = if is_bucket { "/media" } else { "" };
        origin.put(&format!("{prefix}/a"), "one");
        let edge = Edge::with(&guarded(origin.address, is_bucket));
        let spellings = ["/a", "//a", "/%5Ca", "/\\a", "/%2Fa", "/x/../a"];
        for purged in ["/a", "//a", "/*"] {
            for path in spellings {
                assert_eq!(status(&edge, path).await, 200, "{path}");
            }
            assert_eq!(edge.purge(&[purged]).await.status, StatusCode::OK);
            origin.served.lock().expect("lock").clear();
            for path in spellings {
                status(&edge, path).await;
            }
            // `/x/../a` is `/a`; a bucket has one object for `/%2Fa` and `//a`.
            let fetched = origin.served().len();
            let expected = if is_bucket { 3 } else { 5 };
            assert_eq!(fetched, expected, "purge of {purged}, bucket: {is_bucket}");
        }
    }
}

#[tokio::test]
async fn a_bucket_is_never_listed() {
    let origin = GenerousOrigin::start().await;
    let edge = Edge::with(&guarded(origin.address, true));
    for path in ["/", "//", "/%2F", "/\\", "/%5c", "/.", "/a/..", "/..//"] {
        let got = status(&edge, path).await;
        assert!(matches!(got, 400 | 403), "{path} answered {got}");
    }
    assert_eq!(origin.served(), Vec::<String>::new());
}
