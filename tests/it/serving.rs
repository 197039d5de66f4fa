//! Miss, hit, range, condition, HEAD: the viewer's response, and the requests to the bucket for it.

use std::time::Duration;

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::support::{
    bucket::Bucket,
    edge::{Edge, config_for},
    time::settled,
    viewer::{Answer, pattern, raw},
};

#[tokio::test]
async fn a_miss_is_fetched_once_and_then_hit() {
    let bucket = Bucket::start().await;
    bucket.put_with("a.png", "image", Some("max-age=60"));
    let edge = Edge::before(&bucket);
    let miss = edge.get("/a.png").await;
    assert_eq!((miss.status, miss.x_cache()), (StatusCode::OK, "Miss"));
    assert_eq!(miss.field("cache-status"), "Forebay; fwd=uri-miss; ttl=60; stored");
    assert_eq!(miss.field("age"), "");
    edge.clock.advance(Duration::from_secs(7));
    let hit = edge.get("/a.png?utm_source=x").await;
    assert_eq!(
        (hit.status, hit.x_cache(), &hit.content[..]),
        (StatusCode::OK, "Hit", &b"image"[..])
    );
    assert_eq!(hit.field("cache-status"), "Forebay; hit; ttl=53");
    assert_eq!((hit.field("age"), &hit.field("via")[..12]), ("7", "1.1 forebay-"));
    assert_eq!(hit.field("content-type"), "image/png");
    assert_eq!(hit.field("cache-control"), "max-age=60");
    assert_eq!(hit.field("accept-ranges"), "bytes");
    assert_eq!(bucket.gets().len(), 1);
}

#[tokio::test]
async fn nothing_of_the_bucket_reaches_the_viewer() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let edge = Edge::before(&bucket);
    for path in ["/a.png", "/a.png", "/missing.png"] {
        let answer = edge.get(path).await;
        let all = format!("{:?} {:?}", answer.fields, answer.content).to_lowercase();
        for secret in ["x-amz", "amazon", "xml", "alice", "nosuchkey", "us-east-1", "akid"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
    }
}

#[tokio::test]
async fn a_stale_response_is_validated_and_renewed() {
    let bucket = Bucket::start().await;
    bucket.put_with("a.png", "one", Some("max-age=10"));
    let edge = Edge::before(&bucket);
    edge.get("/a.png").await;
    edge.clock.advance(Duration::from_secs(11));
    let refreshed = edge.get("/a.png").await;
    assert_eq!((refreshed.x_cache(), &refreshed.content[..]), ("RefreshHit", &b"one"[..]));
    assert_eq!(
        refreshed.field("cache-status"),
        "Forebay; fwd=stale; fwd-status=304; ttl=10; stored"
    );
    assert!(bucket.gets()[1].if_none_match);
    assert_eq!(edge.get("/a.png").await.x_cache(), "Hit");
    bucket.put_with("a.png", "two", Some("max-age=10"));
    edge.clock.advance(Duration::from_secs(11));
    let replaced = edge.get("/a.png").await;
    assert_eq!((replaced.x_cache(), &replaced.content[..]), ("Miss", &b"two"[..]));
    assert_eq!(bucket.gets().len(), 3);
}

#[tokio::test]
async fn a_change_of_metadata_alone_is_noticed() {
    let bucket = Bucket::start().await;
    bucket.put_with("a.png", "one", Some("max-age=10"));
    let edge = Edge::before(&bucket);
    let before = edge.get("/a.png").await;
    // The same content again: the same entity tag, a newer date.
    bucket.put_with("a.png", "one", Some("max-age=20"));
    edge.clock.advance(Duration::from_secs(11));
    let after = edge.get("/a.png").await;
    assert_eq!(after.field("etag"), before.field("etag"));
    assert_ne!(after.field("last-modified"), before.field("last-modified"));
    assert_eq!(after.field("cache-control"), "max-age=20");
    let conditions: Vec<bool> = bucket.gets().iter().map(|got| got.if_none_match).collect();
    assert_eq!(conditions, [false, true, false]);
    assert_eq!(edge.get("/a.png").await.x_cache(), "Hit");
}

#[tokio::test]
async fn ranges_fetch_only_the_slices_they_touch() {
    let bucket = Bucket::start().await;
    let content = pattern(1_000_000);
    bucket.put("large.bin", content.clone());
    let edge = Edge::before(&bucket);
    let viewer = || edge.viewer();
    let part = viewer().field("range", "bytes=200000-200099").get("/large.bin").await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.field("content-range"), "bytes 200000-200099/1000000");
    assert_eq!(part.content, content[200_000..200_100]);
    assert_eq!(bucket.gets()[0].range.as_deref(), Some("bytes=196608-262143"));
    let again = viewer().field("range", "bytes=262000-262143").get("/large.bin").await;
    assert_eq!((again.x_cache(), bucket.gets().len()), ("Hit", 1));
    let next = viewer().field("range", "bytes=262100-262200").get("/large.bin").await;
    assert_eq!(next.content, content[262_100..262_201]);
    assert_eq!(
        (next.x_cache(), next.field("cache-status")),
        ("Miss", "Forebay; fwd=partial; ttl=86400")
    );
    assert!(bucket.gets()[1].if_match);
    let suffix = viewer().field("range", "bytes=-5").get("/large.bin").await;
    assert_eq!(suffix.content, content[999_995..]);
    let whole = viewer().get("/large.bin").await;
    assert_eq!((whole.status, whole.content.len()), (StatusCode::OK, 1_000_000));
    assert_eq!(whole.content, content);
    let unsatisfiable = viewer().field("range", "bytes=1000000-").get("/large.bin").await;
    assert_eq!(unsatisfiable.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(unsatisfiable.field("content-range"), "bytes */1000000");
}

/// The ranges of a `multipart/byteranges` response, checked against `content`.
fn parts(answer: &Answer, content: &[u8]) -> Vec<(usize, usize)> {
    let media_type = answer.field("content-type").strip_prefix("multipart/byteranges; boundary=");
    let mark = format!("\r\n--{}", media_type.expect("multipart"));
    let text = String::from_utf8(answer.content.to_vec()).expect("text");
    assert_eq!(answer.field("content-length"), text.len().to_string());
    let mut parts: Vec<&str> = text.split(&mark).collect();
    assert_eq!((parts.remove(0), parts.pop()), ("", Some("--\r\n")));
    let read = |part: &str| {
        let (head, carried) = part.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("\r\nContent-Type: "), "{head}");
        let range = head.split("Content-Range: bytes ").nth(1).expect("a range");
        let (range, length) = range.split_once('/').expect("a length");
        assert_eq!(length, content.len().to_string());
        let (first, last) = range.split_once('-').expect("two ends");
        let (first, last) = (first.parse().expect("first"), last.parse().expect("last"));
        assert_eq!(carried.as_bytes(), &content[first..=last]);
        (first, last)
    };
    parts.into_iter().map(read).collect()
}

#[tokio::test]
async fn several_ranges_are_one_answer_of_parts() {
    let bucket = Bucket::start().await;
    let content: Vec<u8> = (0..300_000_u32).map(|at| b'a' + (at % 23) as u8).collect();
    for (key, length) in [("large.txt", 300_000), ("small.txt", 1000)] {
        bucket.put(key, content[..length].to_vec());
    }
    let edge = Edge::before(&bucket);
    let ask = |path: &'static str, ranges| edge.viewer().field("range", ranges).get(path);
    for round in ["unknown", "stored"] {
        let answer = ask("/small.txt", "bytes=0-1,5-6, -3").await;
        assert_eq!(answer.status, 206, "{round}");
        assert_eq!(parts(&answer, &content[..1000]), [(0, 1), (5, 6), (997, 999)], "{round}");
        let answer = ask("/large.txt", "bytes=10-69999,131072-131073,299999-").await;
        let expected = [(10, 69_999), (131_072, 131_073), (299_999, 299_999)];
        assert_eq!(parts(&answer, &content), expected, "{round}");
    }
    // ranges that are not ascending, overlap or are out of bounds get the whole object
    for ranges in ["bytes=5-6,0-1", "bytes=0-5,5-6", "bytes=0-1,1000-"] {
        let answer = ask("/small.txt", ranges).await;
        assert_eq!((answer.status.as_u16(), answer.content.len()), (200, 1000), "{ranges}");
    }
    let stale = edge.viewer().field("range", "bytes=0-1,5-6").field("if-range", "\"other\"");
    assert_eq!(stale.get("/small.txt").await.status, 200);
}

#[tokio::test]
async fn a_range_of_an_unknown_object_may_be_anything() {
    let bucket = Bucket::start().await;
    let content = pattern(300_000);
    bucket.put("suffix.bin", content.clone());
    bucket.put("beyond.bin", content.clone());
    bucket.put("open.bin", content.clone());
    bucket.put("empty.bin", "");
    let edge = Edge::before(&bucket);
    let ask =
        |path: &'static str, range: &'static str| edge.viewer().field("range", range).get(path);
    assert_eq!(ask("/suffix.bin", "bytes=-10").await.content, content[299_990..]);
    let beyond = ask("/beyond.bin", "bytes=700000-700010").await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.field("content-range"), "bytes */300000");
    assert_eq!(ask("/open.bin", "bytes=70000-").await.content, content[70_000..]);
    let empty = ask("/empty.bin", "bytes=0-").await;
    assert_eq!(empty.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let empty = edge.get("/empty.bin").await;
    assert_eq!(
        (empty.status, empty.x_cache(), empty.field("content-length")),
        (StatusCode::OK, "Hit", "0")
    );
}

#[tokio::test]
async fn conditions_are_judged_at_the_edge() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let edge = Edge::before(&bucket);
    let first = edge.get("/a.png").await;
    let (etag, modified) = (first.field("etag"), first.field("last-modified"));
    for (name, value, status) in [
        ("if-none-match", etag, 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", modified, 304),
        ("if-match", "\"other\"", 412),
        ("if-match", etag, 200),
        ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT", 412),
    ] {
        let answer = edge.viewer().field(name, value).get("/a.png").await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {value}");
    }
    let weak = format!("W/{etag}");
    for (if_range, status) in
        [(etag, 206), ("\"other\"", 200), (weak.as_str(), 200), (modified, 206)]
    {
        let viewer = edge.viewer().field("range", "bytes=0-1").field("if-range", if_range);
        assert_eq!(viewer.get("/a.png").await.status.as_u16(), status, "{if_range}");
    }
    assert_eq!(bucket.gets().len(), 1);
}

#[tokio::test]
async fn head_shares_the_copy_of_get_and_pulls_no_body() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let edge = Edge::before(&bucket);
    let head = edge.viewer().head("/a.png").await;
    assert_eq!((head.x_cache(), head.field("content-length")), ("Miss", "5"));
    assert_eq!((bucket.heads(), bucket.gets().len()), (1, 0));
    edge.get("/a.png").await;
    let head = edge.viewer().head("/a.png").await;
    assert_eq!((head.x_cache(), head.field("content-length")), ("Hit", "5"));
    assert_eq!((bucket.heads(), bucket.gets().len()), (1, 1));
    let missing = edge.viewer().head("/missing.png").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn awkward_keys_come_back_byte_for_byte() {
    let keys = [
        "a b.txt",
        "a+b.txt",
        "a%2Fb.txt",
        "%41.txt",
        "a//b.txt",
        "trail/",
        "é.txt",
        "e\u{301}.txt",
        "日本/ü.jpg",
        "it's(1)!*~.txt",
        "a?b#c.txt",
        "a:b@c,d;e=f&g$h.txt",
        "100%",
        "a\\b.txt",
        "\"quoted\".txt",
        "<angle>.txt",
        "{curly}|pipe^.txt",
        "[square].txt",
        "`tick`.txt",
        "...dots",
        "a/..b/c..",
        ".hidden",
        "ends.",
        "emoji 🦀.txt",
        "a=b",
        "semi;colon",
        "tilde~",
        "UPPER/lower",
        "very/deep/a/b/c/d/e/f/g.txt",
        "comma,",
        "plus++ and  two spaces",
    ];
    let bucket = Bucket::start().await;
    let edge = Edge::before(&bucket);
    for key in keys {
        bucket.put(key, format!("content of {key}"));
        let path = format!(
            "/{}",
            percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC)
        );
        // `/` may be encoded or not; the key is the same.
        for path in [path.clone(), path.replace("%2F", "/")] {
            let answer = edge.get(&path).await;
            assert_eq!(answer.content, format!("content of {key}"), "{path}");
        }
    }
    // Django's spelling.
    assert_eq!(edge.get("/it's(1)!*~.txt").await.x_cache(), "Hit");
    assert_eq!(bucket.gets().len(), keys.len());
    for path in ["/a/../comma,", "/./comma,", "/%2e%2e/comma,", "/a%2f..%2fcomma,"] {
        assert_eq!(edge.get(path).await.x_cache(), "Hit", "{path}");
    }
    for path in ["/a/..%5cb", "/a%00b", "/%zz"] {
        assert_eq!(edge.get(path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(bucket.gets().len(), keys.len());
}

#[tokio::test]
async fn an_objects_absence_is_remembered_for_a_short_while() {
    let bucket = Bucket::start().await;
    let edge = Edge::before(&bucket);
    for _ in 0..3 {
        let answer = edge.get("/missing.png").await;
        assert_eq!((answer.status, answer.x_cache()), (StatusCode::NOT_FOUND, "Error"));
    }
    assert_eq!(bucket.gets().len(), 1);
    bucket.put("missing.png", "here now");
    edge.clock.advance(Duration::from_secs(11));
    assert_eq!(edge.get("/missing.png").await.content, "here now");
    bucket.forbid_listing();
    assert_eq!(edge.get("/secret.png").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_must_not_be_stored_is_not() {
    let bucket = Bucket::start().await;
    bucket.put_with("private.png", "mine", Some("private"));
    bucket.put_with("no-store.png", "mine", Some("no-store"));
    let edge = Edge::before(&bucket);
    for path in ["/private.png", "/no-store.png"] {
        for _ in 0..2 {
            let answer = edge.get(path).await;
            assert_eq!((answer.status, answer.x_cache()), (StatusCode::OK, "Miss"), "{path}");
        }
        let part = edge.viewer().field("range", "bytes=1-2").get(path).await;
        assert_eq!((part.status, &part.content[..]), (StatusCode::PARTIAL_CONTENT, &b"in"[..]));
    }
    assert_eq!(bucket.gets().len(), 6);
    // If the first request is for a range, its response is that range.
    bucket.put_with("other.png", "0123456789", Some("private"));
    let part = edge.viewer().field("range", "bytes=-3").get("/other.png").await;
    assert_eq!((part.field("content-range"), &part.content[..]), ("bytes 7-9/10", &b"789"[..]));
}

#[tokio::test]
async fn the_default_root_object_applies_to_the_root_only() {
    let bucket = Bucket::start().await;
    bucket.put("index.html", "home");
    let cache = "memory = \"32MiB\"";
    let text = crate::support::edge::config_for(
        bucket.address,
        cache,
        "default_root_object = \"index.html\"\nx_cache_suffix = \"cloudfront\"",
    );
    let edge = Edge::with(&text);
    let root = edge.get("/").await;
    assert_eq!((&root.content[..], root.field("x-cache")), (&b"home"[..], "Miss from cloudfront"));
    assert_eq!(edge.get("/dir/").await.status, StatusCode::NOT_FOUND);
    let without = Edge::before(&bucket);
    assert_eq!(without.get("/").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn plain_http_is_sent_on_or_refused_where_a_behavior_says_so() {
    let bucket = Bucket::start().await;
    bucket.put("a.txt", "a");
    let config = |policy: &str, public: &str| {
        let text = config_for(bucket.address, "memory = \"32MiB\"", public);
        Edge::with(&(text + &format!("viewer_protocol_policy = \"{policy}\"\n")))
    };
    let redirecting = config("redirect-to-https", "");
    let viewer = || redirecting.viewer().field("host", "media.example.com:8080");
    let moved = viewer().get("/a.txt?x=%20y").await;
    assert_eq!((moved.status.as_u16(), moved.x_cache()), (301, "Redirect"));
    assert_eq!(moved.field("location"), "https://media.example.com/a.txt?x=%20y");
    let posted = viewer().send("POST", "/a.txt", "").await;
    assert_eq!(posted.status.as_u16(), 307);
    let old = raw(redirecting.address, b"GET /a.txt HTTP/1.0\r\nHost: h\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 403"), "{old}");
    let strict = config("https-only", "");
    assert_eq!(strict.get("/a.txt").await.status.as_u16(), 403);
    assert_eq!(strict.get("/a.txt").await.field("cache-status"), "Forebay; detail=https-only");
    let behind_a_balancer = config("redirect-to-https", "public_scheme = \"https\"");
    assert_eq!(behind_a_balancer.get("/a.txt").await.status.as_u16(), 200);
}

#[tokio::test]
async fn pages_of_other_sites_are_answered_at_the_edge() {
    let bucket = Bucket::start().await;
    bucket.put("font.woff2", "font");
    let policy = "
[[response_headers_policy]]
name = \"own\"
remove = [\"ETag2\", \"Last-Modified\"]
cors = { allow_origins = [\"https://*.example.com\"], allow_methods = [\"GET\"], max_age = 600 }
security_headers = { content_type_options = \"nosniff\" }
custom_header = [{ name = \"X-Note\", value = \"a note\" }]
";
    let text = config_for(bucket.address, "memory = \"32MiB\"", "");
    let edge = Edge::with(&(text + "response_headers_policy = \"own\"\n" + policy));
    let of = |origin| edge.viewer().field("origin", origin);
    let shown = |answer: &Answer| {
        let names = ["access-control-allow-origin", "vary", "x-content-type-options", "x-note"];
        names.map(|name| answer.field(name).to_owned())
    };
    let first = edge.get("/font.woff2").await;
    assert_eq!(shown(&first), ["", "Origin", "nosniff", "a note"]);
    assert_eq!((first.x_cache(), first.field("last-modified")), ("Miss", ""));
    for _ in 0..3 {
        let allowed = of("https://shop.example.com").get("/font.woff2").await;
        let expected = ["https://shop.example.com", "Origin", "nosniff", "a note"];
        assert_eq!((allowed.x_cache(), shown(&allowed)), ("Hit", expected.map(str::to_owned)));
        let refused = of("https://shop.example.net").get("/font.woff2").await;
        assert_eq!(shown(&refused)[0], "");
        assert_eq!(shown(&edge.get("/font.woff2").await)[0], "");
    }
    let etag = first.field("etag").to_owned();
    let same = of("https://a.example.com").field("if-none-match", &etag).get("/font.woff2").await;
    assert_eq!((same.status.as_u16(), &*shown(&same)[0]), (304, "https://a.example.com"));
    let ask = of("https://a.example.com").field("access-control-request-method", "GET");
    let preflight = ask.send("OPTIONS", "/font.woff2", "").await;
    assert_eq!((preflight.status.as_u16(), preflight.content.len()), (204, 0));
    assert_eq!(preflight.field("access-control-allow-methods"), "GET");
    assert_eq!(preflight.field("access-control-max-age"), "600");
    assert_eq!(edge.viewer().send("OPTIONS", "/font.woff2", "").await.status.as_u16(), 405);
    let missing = of("https://a.example.com").get("/missing").await;
    assert_eq!(shown(&missing)[0], "https://a.example.com");
    assert_eq!(bucket.gets().len(), 2, "the object, and what is missing");
}

#[tokio::test]
async fn ranges_far_apart_fetch_the_slices_they_need() {
    for ranges in ["bytes=0-0,9000000-9000000", "bytes=5000000-5000000,-1"] {
        let bucket = Bucket::start().await;
        bucket.put("large", pattern(10 << 20));
        let edge = Edge::before(&bucket);
        let answer = edge.viewer().field("range", ranges).get("/large").await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        let slice = 64 << 10;
        let fetched: Vec<String> = bucket.gets().into_iter().filter_map(|got| got.range).collect();
        assert_eq!(fetched.len(), 2, "{fetched:?}");
        for range in &fetched {
            let (first, last) = range.trim_start_matches("bytes=").split_once('-').expect(range);
            let (first, last): (u64, u64) =
                (first.parse().expect(range), last.parse().expect(range));
            assert!(last - first < slice, "{fetched:?}");
        }
    }
}

/// A viewer that requests an object and reads only its first bytes.
async fn begin_slowly(edge: &Edge, path: &str, fields: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(edge.address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream.read_exact(&mut [0; 12]).await.expect("a status line");
    stream
}

/// Reads the rest of a response.
async fn receive_all(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.shutdown().await.expect("half closed");
    stream.read_to_end(&mut answer).await.expect("read");
    answer
}

#[tokio::test]
async fn slow_readers_of_a_large_object_displace_nothing() {
    let bucket = Bucket::start().await;
    bucket.put("large", pattern(10 << 20));
    bucket.put("hot", "small and hot");
    let text = config_for(bucket.address, "memory = \"12MiB\"\nslice = \"256KiB\"", "");
    let edge = Edge::with(&text.replace("workers = 2", "workers = 1"));
    assert_eq!(edge.get("/large").await.content.len(), 10 << 20);
    edge.get("/hot").await;
    let mut readers = Vec::new();
    for n in 0..20 {
        let first = n * (480 << 10);
        readers.push(begin_slowly(&edge, "/large", &format!("Range: bytes={first}-\r\n")).await);
    }
    // The viewers read as much as the system buffers for them, then nothing.
    settled(|| bucket.gets().len()).await;
    edge.get("/hot").await;
    // New objects are stored and evicted; hot ones stay, and no request is refused.
    for n in 0..120 {
        bucket.put(&n.to_string(), pattern(200 << 10));
        let answer = edge.get(&format!("/{n}")).await;
        assert_eq!((answer.status.as_u16(), answer.content.len()), (200, 200 << 10), "{n}");
        let hot = edge.get("/hot").await;
        assert_eq!(hot.x_cache(), "Hit", "{n}: {}", hot.field("cache-status"));
    }
    // A reader that starts to read its response gets all of it.
    let answer = receive_all(readers.pop().expect("a reader")).await;
    let content = pattern(10 << 20);
    assert!(answer.ends_with(&content[19 * (480 << 10)..]), "{} bytes", answer.len());
}

/// An object that fits into one slice is stored as one piece. Slow viewers must not keep all of it in memory after
/// its eviction.
#[tokio::test]
async fn slow_readers_of_many_objects_displace_nothing() {
    const LENGTH: usize = 7 << 19;
    let bucket = Bucket::start().await;
    bucket.put("hot", "small and hot");
    let edge = Edge::with(&config_for(bucket.address, "memory = \"64MiB\"\nslice = \"4MiB\"", ""));
    edge.get("/hot").await;
    let mut readers = Vec::new();
    for n in 0..24 {
        bucket.put(&format!("large{n}"), pattern(LENGTH + n));
        let path = format!("/large{n}");
        if n % 2 == 0 {
            assert_eq!(edge.get(&path).await.content.len(), LENGTH + n);
        }
        let ranges = ["", "Range: bytes=0-1,3-\r\n"][usize::from(n % 3 == 2)];
        readers.push(begin_slowly(&edge, &path, ranges).await);
        assert_eq!(edge.get("/hot").await.x_cache(), "Hit", "{n}");
    }
    for n in 0..40 {
        bucket.put(&n.to_string(), pattern(1 << 20));
        let answer = edge.get(&format!("/{n}")).await;
        assert_eq!((answer.status.as_u16(), answer.content.len()), (200, 1 << 20), "{n}");
        assert_eq!(edge.get("/hot").await.x_cache(), "Hit", "{n}");
    }
    let fetched = bucket.gets().len();
    for (n, reader) in readers.into_iter().enumerate().filter(|(n, _)| n % 8 < 2) {
        let answer = receive_all(reader).await;
        let content = pattern(LENGTH + n);
        let end = &content[3..];
        let is_whole = answer.windows(end.len()).any(|part| part == end);
        assert!(is_whole, "{n}: {} bytes", answer.len());
    }
    let parts: Vec<_> = bucket.gets().split_off(fetched);
    assert!(parts.iter().any(|got| got.range.is_some()), "parts of evicted objects");
    assert!(parts.iter().all(|got| got.range.is_some()), "whole objects");
}
