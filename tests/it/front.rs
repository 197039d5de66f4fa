//! TLS, HTTP/2, reload and drain.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use forebay::config::Config;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{
    bucket::Bucket,
    edge::{Edge, config_for},
    time::{eventually, pass},
    viewer::{PATIENCE, pattern, raw, read},
};

/// Writes a self-signed certificate for `host` into `folder`.
fn certificate(folder: &TempDir, name: &str, host: &str) {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).expect("certificate");
    std::fs::write(folder.path().join(format!("{name}.pem")), made.cert.pem()).expect("written");
    std::fs::write(folder.path().join(format!("{name}.key")), made.signing_key.serialize_pem())
        .expect("written");
}

/// A folder with certificates of two hosts.
pub(crate) fn certificates() -> TempDir {
    let folder = tempfile::tempdir().expect("folder");
    certificate(&folder, "one", "one.example.com");
    certificate(&folder, "two", "two.example.com");
    folder
}

pub(crate) fn tls_config(bucket: &Bucket, folder: &TempDir) -> String {
    let path = folder.path().display();
    let tls = format!(
        "https = \"127.0.0.1:0\"\ntls = [\n  {{ certificate = \"{path}/one.pem\", key = \"{path}/one.key\" }},\n  {{ certificate = \"{path}/two.pem\", key = \"{path}/two.key\" }},\n]"
    );
    config_for(bucket.address, "memory = \"32MiB\"", "")
        .replace("workers = 2", &format!("workers = 2\n{tls}"))
}

pub(crate) async fn connect(
    address: SocketAddr,
    folder: &TempDir,
    name: &str,
    host: &str,
    alpn: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let trusted =
        CertificateDer::from_pem_file(folder.path().join(format!("{name}.pem"))).expect("PEM");
    roots.add(trusted).expect("trusted");
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    let host = ServerName::try_from(host.to_owned()).expect("name");
    TlsConnector::from(Arc::new(config)).connect(host, stream).await
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").port()
}

#[tokio::test]
async fn plain_http_on_the_port_for_https_is_told_so() {
    let bucket = Bucket::start().await;
    let folder = certificates();
    let edge = Edge::with(&tls_config(&bucket, &folder));
    let request = b"GET /a.png HTTP/1.1\r\nHost: one.example.com\r\n\r\n";
    let answer = raw(edge.running().https[0], request).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use https://"), "{answer}");
}

#[tokio::test]
async fn a_redirect_names_the_port_of_https_where_the_viewer_named_one() {
    let (bucket, folder, port) = (Bucket::start().await, certificates(), free_port());
    let text = tls_config(&bucket, &folder)
        .replace("https = \"127.0.0.1:0\"", &format!("https = \"127.0.0.1:{port}\""));
    let edge = Edge::with(&(text + "viewer_protocol_policy = \"redirect-to-https\"\n"));
    for (host, expected) in [
        ("one.example.com:8080", format!("https://one.example.com:{port}/a.png")),
        ("[::1]:8080", format!("https://[::1]:{port}/a.png")),
        ("one.example.com", "https://one.example.com/a.png".to_owned()),
        ("one.example.com.", "https://one.example.com/a.png".to_owned()),
    ] {
        let moved = edge.viewer().field("host", host).get("/a.png").await;
        assert_eq!((moved.status.as_u16(), moved.field("location")), (301, &*expected));
    }
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_protocols_by_alpn() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let folder = tempfile::tempdir().expect("folder");
    certificate(&folder, "one", "one.example.com");
    certificate(&folder, "two", "*.two.example.com");
    let edge = Edge::with(&tls_config(&bucket, &folder));
    let address = edge.running().https[0];
    for (name, host) in [("one", "one.example.com"), ("two", "x.two.example.com")] {
        let stream = connect(address, &folder, name, host, "h2").await.expect("handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("h2");
        tokio::spawn(connection);
        for _ in 0..3 {
            let request = Request::get(format!("https://{host}/a.png"))
                .body(Empty::<Bytes>::new())
                .expect("request");
            let response = sender.send_request(request).await.expect("answer");
            let via = format!("2 {}", forebay::base::instance::pseudonym());
            assert_eq!(response.headers()["via"], via);
            assert_eq!(response.into_body().collect().await.expect("body").to_bytes(), "image");
        }
    }
    assert!(connect(address, &folder, "one", "x.two.example.com", "h2").await.is_err());
    let stream =
        connect(address, &folder, "one", "one.example.com", "http/1.1").await.expect("handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn pages_in_the_place_of_errors_are_shown_over_http2_too() {
    let bucket = Bucket::start().await;
    bucket.put("sorry.html", "sorry");
    let folder = certificates();
    bucket.put("there", "there");
    let page = |code| {
        format!(
            "[[distribution.custom_error_response]]\nerror_code = {code}\nresponse_page_path = \"/sorry.html\"\n"
        )
    };
    let pages = page(404) + &page(416) + "[[distribution.origin]]";
    let edge = Edge::with(&tls_config(&bucket, &folder).replace("[[distribution.origin]]", &pages));
    let stream = connect(edge.running().https[0], &folder, "one", "one.example.com", "h2");
    let stream = TokioIo::new(stream.await.expect("handshake"));
    let begun = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
    let (mut sender, connection) = begun.expect("h2");
    tokio::spawn(connection);
    for (path, range, status, content) in [
        ("missing", "bytes=0-1", StatusCode::NOT_FOUND, "sorry"),
        ("there", "bytes=0-", StatusCode::PARTIAL_CONTENT, "there"),
        ("there", "bytes=9999-", StatusCode::RANGE_NOT_SATISFIABLE, "sorry"),
    ] {
        let request =
            Request::get(format!("https://one.example.com/{path}")).header("range", range);
        let request = request.body(Empty::<Bytes>::new()).expect("request");
        let answer = sender.send_request(request).await.expect("answer");
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.into_body().collect().await.expect("body").to_bytes(), content, "{path}");
    }
}

/// An HTTP/2 viewer that stops reading keeps its window closed, so no write is pending. The write timeout still
/// applies, but not to a viewer that waits for a slow origin.
#[tokio::test]
async fn http2_viewers_who_open_no_window_are_cut() {
    let bucket = Bucket::start().await;
    bucket.put("a.bin", vec![b'x'; 300_000]);
    let folder = certificates();
    let hasty = "workers = 2\nheader_timeout = \"200ms\"\nwrite_timeout = \"700ms\"";
    let edge = Edge::with(&tls_config(&bucket, &folder).replace("workers = 2", hasty));
    bucket.gate(1_000);
    let stream = connect(edge.running().https[0], &folder, "one", "one.example.com", "h2");
    let stream = TokioIo::new(stream.await.expect("handshake"));
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(20_000).adaptive_window(false);
    let (mut sender, connection) = builder.handshake(stream).await.expect("h2");
    let connection = tokio::spawn(connection);
    let request = Request::get("https://one.example.com/a.bin");
    let request = request.body(Empty::<Bytes>::new()).expect("request");
    let answer = sender.send_request(request).await.expect("answer");
    // Longer than the write timeout, but here the origin sends nothing.
    pass(Duration::from_millis(1_200)).await;
    assert!(!connection.is_finished(), "it was cut while it waited for the origin");
    bucket.gate(1_000_000);
    // Now the viewer reads none of it.
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    assert!(ended.is_ok(), "it was not cut");
    drop(answer);
}

/// The same if the whole response is in memory and the viewer keeps sending pings.
#[tokio::test]
async fn pings_are_no_window() {
    let bucket = Bucket::start().await;
    bucket.put("a.bin", vec![b'x'; 300_000]);
    let folder = certificates();
    let hasty = "workers = 2\nheader_timeout = \"200ms\"\nwrite_timeout = \"700ms\"";
    let edge = Edge::with(&tls_config(&bucket, &folder).replace("workers = 2", hasty));
    edge.get("/a.bin").await;
    let stream = connect(edge.running().https[0], &folder, "one", "one.example.com", "h2");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(20_000);
    let (sender, mut connection) =
        builder.handshake::<_, Bytes>(stream.await.expect("handshake")).await.expect("h2");
    let mut pings = connection.ping_pong().expect("pings");
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.expect("ready");
    let request = Request::get("https://one.example.com/a.bin").body(()).expect("request");
    let (answer, _) = sender.send_request(request, true).expect("sent");
    let answer = answer.await.expect("answer");
    let pinged = async {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            pass(Duration::from_millis(100)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, pinged).await;
    assert!(ended.is_ok() && connection.await.is_ok(), "it was not cut");
    drop(answer);
}

/// Requests that arrive in one read with the end of their connection are recorded, and their state is freed.
#[tokio::test]
async fn requests_that_come_with_the_end_are_let_go() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let folder = certificates();
    let edge = Edge::with(&tls_config(&bucket, &folder));
    edge.get("/a.png").await;
    let stream = connect(edge.running().https[0], &folder, "one", "one.example.com", "h2");
    let (mut sender, connection) =
        h2::client::handshake(stream.await.expect("handshake")).await.expect("h2");
    for _ in 0..20 {
        let request = Request::get("https://one.example.com/a.png").body(()).expect("request");
        let _ = sender.send_request(request, true).expect("sent");
    }
    // The HTTP library closes a connection on such a request.
    let mut request = Request::connect("one.example.com:443").body(()).expect("request");
    request.headers_mut().insert("content-length", "5".parse().expect("a number"));
    let (_answer, mut content) = sender.send_request(request, false).expect("sent");
    let _ = tokio::time::timeout(PATIENCE, connection).await.expect("ended");
    let _ = content.send_data(Bytes::new(), true);
    let hits = "forebay_requests_total{distribution=\"media\",result=\"Hit\",status=\"2xx\"} 20\n";
    edge.metrics_have(hits).await;
}

#[tokio::test]
async fn http2_bounds_heads_and_refuses_get_with_content() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let folder = certificates();
    let edge = Edge::with(&tls_config(&bucket, &folder));
    let stream = connect(edge.running().https[0], &folder, "one", "one.example.com", "h2")
        .await
        .expect("handshake");
    let (mut sender, connection) = hyper::client::conn::http2::handshake::<
        _,
        _,
        http_body_util::Full<Bytes>,
    >(TokioExecutor::new(), TokioIo::new(stream))
    .await
    .expect("h2");
    tokio::spawn(connection);
    let request =
        Request::get("https://one.example.com/a.png").body("content".into()).expect("request");
    assert_eq!(sender.send_request(request).await.expect("answer").status(), StatusCode::FORBIDDEN);
    let large = "a".repeat(40 << 10);
    let request = Request::get("https://one.example.com/a.png")
        .header("x", large)
        .body(Bytes::new().into())
        .expect("request");
    let answer = sender.send_request(request).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431));
}

#[tokio::test]
async fn a_reload_keeps_connections_and_cache_and_renews_certificates() {
    let bucket = Bucket::start().await;
    bucket.put("a.png", "image");
    let folder = certificates();
    let text = tls_config(&bucket, &folder);
    let edge = Edge::with(&text);
    assert_eq!(edge.get("/a.png").await.x_cache(), "Miss");
    bucket.put("slow.bin", pattern(100_000));
    bucket.gate(1000);
    let under_way = edge.viewer().begin("GET", "/slow.bin", "").await;
    certificate(&folder, "one", "renewed.example.com");
    let compile =
        |text: &str| Config::compile("test.toml", text, Path::new("")).expect("no faults");
    let changed = text.replace(
        "id = \"media\"\naliases = [\"*\"]",
        "id = \"media\"\naliases = [\"media.example.com\"]",
    );
    edge.running().reload(compile(&changed)).expect("reloaded");
    bucket.gate(usize::MAX);
    assert_eq!(read(under_way).await.content.len(), 100_000);
    assert_eq!(edge.get("/a.png").await.x_cache(), "Hit");
    let other = edge.viewer().field("host", "other.example.com").get("/a.png").await;
    assert_eq!(other.status, StatusCode::MISDIRECTED_REQUEST);
    let address = edge.running().https[0];
    assert!(connect(address, &folder, "one", "renewed.example.com", "h2").await.is_ok());
    // An unreadable certificate changes nothing.
    std::fs::write(folder.path().join("one.pem"), "not PEM").expect("written");
    assert!(edge.running().reload(compile(&text)).is_err());
    let other = edge.viewer().field("host", "other.example.com").get("/a.png").await;
    assert_eq!(other.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way() {
    let bucket = Bucket::start().await;
    bucket.put("slow.bin", pattern(100_000));
    bucket.gate(1000);
    let text = config_for(bucket.address, "memory = \"32MiB\"", "")
        .replace("drain = \"5s\"", "drain = \"5s\"\ndrain_delay = \"300ms\"");
    let mut edge = Edge::with(&text);
    let under_way = edge.viewer().begin("GET", "/slow.bin", "").await;
    let (address, admin) = (edge.address, edge.running().admin_address.expect("admin"));
    let idle = TcpStream::connect(address).await.expect("idle");
    let stopping = tokio::spawn(edge.running.take().expect("running").stop());
    // First `/readyz` announces the shutdown while the edge still serves.
    let readyz = raw(admin, b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(readyz.starts_with("HTTP/1.1 503"), "{readyz}");
    assert!(
        raw(address, b"GET /missing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 404")
    );
    // Then it accepts no connections and closes idle ones, but the transfer continues.
    eventually(|| std::net::TcpStream::connect(address).is_err()).await;
    eventually(|| matches!(idle.try_read(&mut [0; 1]), Ok(0) | Err(_))).await;
    assert!(!stopping.is_finished());
    bucket.gate(usize::MAX);
    assert_eq!(read(under_way).await.content.len(), 100_000);
    assert!(stopping.await.expect("stopped"), "everything finished");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let bucket = Bucket::start().await;
    let text =
        config_for(bucket.address, "memory = \"32MiB\"", "").replacen("127.0.0.1:0", &address, 1);
    let config = Config::compile("test.toml", &text, Path::new("")).expect("no faults");
    let source = forebay::app::CredentialSource::Given(forebay::aws::Credentials::new());
    let error = forebay::app::start(config, forebay::base::clock::Clock::system(), source)
        .err()
        .expect("refused");
    let said = error.to_string();
    assert!(said.contains(&address) && said.contains("another program uses it"), "{said}");
}

/// Frames that cost their sender nothing: the connection ends, and other viewers notice nothing.
#[tokio::test]
async fn floods_of_control_frames_end_their_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bucket = Bucket::start().await;
    bucket.put("a", "content");
    let folder = certificates();
    let edge = Edge::with(&tls_config(&bucket, &folder));
    let address = edge.running().https[0];
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0].to_vec();
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1].to_vec();
    let priority = [0, 0, 5, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 16].to_vec();
    let unknown = [0, 0, 0, 0xee, 0, 0, 0, 0, 0].to_vec();
    for frame in [settings, ping, window, priority, unknown] {
        let stream = connect(address, &folder, "one", "one.example.com", "h2").await;
        let (mut reader, mut writer) = tokio::io::split(stream.expect("handshake"));
        let preface =
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        let flood = tokio::spawn(async move {
            writer.write_all(&preface).await?;
            for _ in 0..20 {
                writer.write_all(&frame.repeat(500)).await?;
            }
            writer.flush().await
        });
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), reader.read_to_end(&mut answer));
        let _ = ended.await.expect("the flood went on");
        let calm = [0, 0, 0, 0, 0xb];
        let goaway = answer.windows(17).find(|frame| frame[3] == 7 && frame[..3] == [0, 0, 8]);
        assert_eq!(goaway.map(|frame| &frame[13..]), Some(&calm[1..]), "{goaway:?}");
        assert_eq!(edge.get("/a").await.status, 200);
        drop(flood);
    }
    let text = edge.metrics().await;
    assert!(text.contains("forebay_http2_floods_total 5"), "{text}");
}
