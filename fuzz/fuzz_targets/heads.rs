//! Request heads through both parsers: the fast path parses a head exactly as the HTTP library does.

#![no_main]

use std::{convert::Infallible, sync::Arc, sync::Mutex};

use forebay::server::{MAX_FIELDS, MAX_HEAD, read_head};
use http::{Request, Response, request::Parts};
use http_body_util::Empty;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt;

/// The first request that the library parses from the same bytes.
fn library(head: &[u8]) -> Option<Parts> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (mut viewer, server) = tokio::io::duplex(1 << 20);
        viewer.write_all(head).await.expect("written");
        viewer.shutdown().await.expect("ended");
        let first = Arc::<Mutex<Option<Parts>>>::default();
        let seen = Arc::clone(&first);
        let service = service_fn(move |request: Request<Incoming>| {
            seen.lock().expect("lock").get_or_insert(request.into_parts().0);
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        let mut builder = http1::Builder::new();
        builder.header_read_timeout(None).half_close(true);
        builder.max_buf_size(MAX_HEAD as usize).max_headers(MAX_FIELDS);
        let _ = builder.serve_connection(TokioIo::new(server), service).await;
        let first = first.lock().expect("lock").take();
        first
    })
}

fuzz_target!(|head: &[u8]| {
    if head.len() > MAX_HEAD as usize {
        return;
    }
    let Some(ours) = read_head(head) else { return };
    let theirs = library(head).expect("the library reads it, too");
    assert_eq!(ours.method, theirs.method);
    assert_eq!(ours.uri, theirs.uri);
    assert_eq!(ours.version, theirs.version);
    assert_eq!(ours.headers, theirs.headers);
});
