//! Benchmarks of the parts of a request.

use std::{hint::black_box, sync::Arc, time::Duration};

use aws_credential_types::Credentials;
use criterion::{Criterion, criterion_group, criterion_main};
use filling::{key as key_of, put};
use fixture::Stored;
use forebay::{
    aws::{Installed, S3Signer},
    base::clock::Timestamp,
    behavior::CachePolicy,
    cache::{
        key::{CacheKey, CanonicalPath, PathForm, Projection},
        policy::{Freshness, Received, RequestProperties, Stale, reuse, storable},
        store::{Options, Store},
    },
    http::range::RangeRequest,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;

mod filling;
mod fixture;

/// The same allocator as the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn path(c: &mut Criterion) {
    c.bench_function("path/plain", |b| {
        b.iter(|| CanonicalPath::resolve(black_box("/photos/2026/harbour.jpg"), PathForm::Key));
    });
    c.bench_function("path/escaped", |b| {
        b.iter(|| {
            CanonicalPath::resolve(
                black_box("/photos/%E6%97%A5%E6%9C%AC/a%20b%20(1).jpg"),
                PathForm::Key,
            )
        });
    });
}

fn key(c: &mut Criterion) {
    let path = CanonicalPath::resolve("/photos/5000.jpg", PathForm::Key).expect("path");
    c.bench_function("key/build", |b| {
        b.iter(|| CacheKey::new("media", black_box(&path), &Projection::default()));
    });
}

fn response_fields() -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in [
        ("content-type", "image/jpeg"),
        ("cache-control", "public, max-age=86400"),
        ("etag", "\"cd518598a07b9d1f2d4b75c8a1518325\""),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    fields
}

fn policy(c: &mut Criterion) {
    let policy = CachePolicy::managed("CachingOptimized").expect("managed");
    let (fields, now) = (response_fields(), Timestamp::from_secs(784_111_777));
    c.bench_function("policy/storable", |b| {
        b.iter(|| {
            let received = Received {
                status: StatusCode::OK,
                fields: black_box(&fields),
                requested_at: now,
                received_at: now,
                request: RequestProperties::default(),
            };
            storable(&received, &policy.caching)
        });
    });
    let freshness = Freshness {
        received_at: now,
        initial_age: 0,
        fresh_until: now + Duration::from_secs(60),
        stale: Stale::default(),
    };
    c.bench_function("policy/reuse", |b| b.iter(|| reuse(Some(black_box(&freshness)), now)));
}

fn range(c: &mut Criterion) {
    c.bench_function("range/parse", |b| {
        b.iter(|| RangeRequest::parse(Some(black_box(b"bytes=1000000-1999999"))));
    });
}

fn lookup(c: &mut Criterion) {
    let store = Arc::new(Store::new(Options::default()));
    let now = Timestamp::from_secs(784_111_777);
    let fields = response_fields();
    for number in 0..10_000 {
        put(&store, number, &fields, 1024, now);
    }
    let wanted = key_of(5000);
    c.bench_function("store/lookup", |b| b.iter(|| store.lookup(black_box(&wanted), now)));
}

fn sign(c: &mut Criterion) {
    let identity = Credentials::new("AKIDEXAMPLE", "secret", None, None, "bench").into();
    let keys = Installed { identity, generation: 1 };
    let now = Timestamp::from_secs(1_369_353_600);
    let host = "media.s3.eu-central-1.amazonaws.com";
    let signer = S3Signer::new("eu-central-1", format!("https://{host}"));
    for (name, target) in [
        ("origin/sign", "/photos/harbour.jpg"),
        ("origin/sign, with a query", "/photos/harbour.jpg?versionId=1"),
    ] {
        c.bench_function(name, |b| {
            b.iter(|| {
                let mut fields = HeaderMap::new();
                fields.insert("host", HeaderValue::from_static(host));
                signer.sign(&keys, now, &Method::GET, black_box(target), &mut fields)
            });
        });
    }
}

/// A whole hit within Forebay, from the parsed head to the access-log record: on the fast path, and as a message
/// for the HTTP library.
fn respond(c: &mut Criterion) {
    let (stored, connection) = (Stored::start(), Stored::connection());
    let mut head = Vec::with_capacity(4096);
    c.bench_function("respond/direct", |b| {
        b.iter(|| stored.hit(Stored::request(), &connection, &mut head));
    });
    c.bench_function("respond/message", |b| {
        b.to_async(&stored.runtime).iter(|| async {
            stored.respond(Stored::request(), &connection).await.into_body().collect().await.is_ok()
        });
    });
    stored.runtime.block_on(stored.running.stop());
}

/// A hit whose behavior has rules: none of them, a list of 100,000 redirects, and ten with patterns, none of which has the path.
fn rules(c: &mut Criterion) {
    let file = std::env::temp_dir().join(format!("forebay-redirects-{}", std::process::id()));
    let lines = (0..100_000).map(|number| format!("/old/photos/{number}.jpg /new/{number}\n"));
    std::fs::write(&file, lines.collect::<String>()).expect("a list");
    let list = format!(
        "[[distribution.default_behavior.rule]]\nredirects_file = \"{}\"\n",
        file.display()
    );
    let pattern = |number| {
        format!(
            "[[distribution.default_behavior.rule]]\npath = \"/old-{number}/*.jpg\"\nrewrite = \"/new/{{1}}\"\n"
        )
    };
    let patterns: String = (0..10).map(pattern).collect();
    for (name, rules) in
        [("rules/none", ""), ("rules/redirects-100000", &*list), ("rules/patterns-10", &*patterns)]
    {
        let (stored, connection) = (Stored::with_rules(rules), Stored::connection());
        let mut head = Vec::with_capacity(4096);
        c.bench_function(name, |b| {
            b.iter(|| stored.hit(Stored::request(), &connection, &mut head));
        });
        stored.runtime.block_on(stored.running.stop());
    }
    let _ = std::fs::remove_file(file);
}

criterion_group!(parts, path, key, policy, range, lookup, respond, rules, sign);
criterion_main!(parts);
