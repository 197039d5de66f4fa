//! The load generator against servers that are slow, stall, cut connections or refuse.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use forebay::{
    base::clock::Stopwatch,
    load::{self, Due, Http, Line, LoadEvent, Options, Targets, Trust, Until},
};
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{time::pass, viewer::PATIENCE};

use super::{options, paths, refusal, run};

/// A server that passes each connection and its number to `serve`.
async fn server<F>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, number));
            number += 1;
        }
    });
    address
}

/// Reads a request and returns whether there is one.
async fn read(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0)
}

async fn answer(stream: &mut TcpStream) {
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let _ = stream.write_all(text).await;
}

/// A server that delays each response this long and counts its connections.
async fn slow_server(delay: Duration) -> (SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = server(move |mut stream, number| {
        counted.store(number + 1, Ordering::Relaxed);
        async move {
            while read(&mut stream).await {
                pass(delay).await;
                answer(&mut stream).await;
            }
        }
    });
    (address.await, connections)
}

fn number(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("a number")
}

/// Options for this many connections on one thread.
fn on(connections: usize, until: Until) -> Options {
    Options {
        threads: NonZeroUsize::MIN,
        connections: number(connections),
        warm: false,
        ..options(until)
    }
}

fn seconds(seconds: f64) -> Until {
    Until::Time(Duration::from_secs_f64(seconds))
}

async fn load(options: Options, address: SocketAddr, http: Http) -> Value {
    let targets = Targets::new(&format!("http://{address}"), paths(&["/"]));
    let (report, json, _) = run(options, Line::clear(vec![address], http), targets).await;
    let page = report.page();
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    json
}

fn float(json: &Value, path: &str) -> f64 {
    json.pointer(path).and_then(Value::as_f64).expect("a number")
}

fn count(json: &Value, path: &str) -> u64 {
    json.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

/// Every due request is reported, and nearly all were sent: a busy machine may miss the last moments.
fn assert_kept(json: &Value, due: u64) {
    let (answers, unsent) = (count(json, "/requests"), count(json, "/failures/due, not sent"));
    assert!(answers + unsent == due && unsent <= due / 5, "{json}");
    let failures = json["failures"].as_object().map_or(0, serde_json::Map::len);
    assert_eq!(failures, usize::from(unsent > 0), "{json}");
}

#[tokio::test]
async fn at_a_constant_rate_latencies_count_from_when_requests_were_due() {
    let (address, _) = slow_server(Duration::from_millis(100)).await;
    let closed = on(1, Until::Requests(12));
    let json = load(closed.clone(), address, Http::One).await;
    assert!(float(&json, "/latency/min") >= 99.0, "{json}");
    // Forty requests a second are due, ten are answered: the fifth is due after 100 ms and sent after 400.
    let open = Options { due: Due::Rate(40.0), ..on(1, seconds(0.5)) };
    let json = load(open.clone(), address, Http::One).await;
    assert_eq!(count(&json, "/requests") + count(&json, "/failures/due, not sent"), 20, "{json}");
    assert!((1..=6).contains(&count(&json, "/requests")), "{json}");
    assert!(float(&json, "/latency/max") >= 375.0, "{json}");
    assert_eq!(json["rate"], 40.0);
    // The run lasts as long as the schedule of its requests.
    let open = Options { until: Until::Requests(20), ..open };
    let json = load(open, address, Http::One).await;
    assert_eq!(count(&json, "/requests") + count(&json, "/failures/due, not sent"), 20, "{json}");
    assert!((0.5..1.5).contains(&float(&json, "/seconds")), "{json}");
    // With enough connections the server keeps up: exactly the due requests arrive.
    let wide = Options { due: Due::Rate(40.0), threads: number(3), ..on(10, seconds(1.0)) };
    let json = load(wide, address, Http::One).await;
    assert_kept(&json, 40);
}

#[tokio::test]
async fn a_low_rate_keeps_its_connections_and_its_end() {
    let (address, connections) = slow_server(Duration::ZERO).await;
    let seldom = Options { due: Due::Rate(10.0), threads: number(2), ..on(8, seconds(1.05)) };
    let json = load(seldom, address, Http::One).await;
    assert_kept(&json, 11);
    assert!(float(&json, "/seconds") >= 1.05, "{json}");
    // One connection is made before the run begins.
    assert_eq!(connections.load(Ordering::Relaxed), 1 + 8);
}

#[tokio::test]
async fn what_was_due_and_not_sent_is_told_and_counts() {
    // The server answers for half a second, then stops.
    let begun = Stopwatch::start();
    let address = server(move |mut stream, _| async move {
        while read(&mut stream).await && begun.elapsed() < Duration::from_millis(500) {
            answer(&mut stream).await;
        }
        std::future::pending::<()>().await;
    });
    let timeout = Duration::from_millis(1_600);
    let open = Options { due: Due::Rate(100.0), timeout, ..on(2, seconds(2.0)) };
    let json = load(open, address.await, Http::One).await;
    let (answers, unsent) = (count(&json, "/requests"), count(&json, "/failures/due, not sent"));
    assert_eq!(answers + unsent + count(&json, "/failures/timed out"), 200, "{json}");
    assert!((10..=50).contains(&answers) && unsent >= 140, "{json}");
    // Half of all due requests waited for more than half a second.
    assert!(float(&json, "/latency/p50") > 500.0, "{json}");
    assert!(float(&json, "/latency/max") >= 1_400.0, "{json}");
    // Seconds without responses count, too.
    let intervals = json["intervals"].as_array().expect("a list");
    let length: f64 = intervals.iter().map(|interval| float(interval, "/length")).sum();
    assert!((length - float(&json, "/seconds")).abs() < 0.01, "{json}");
    let last = intervals.last().expect("an interval");
    assert_eq!((&last["requests"], &last["p50"]), (&json!(0), &Value::Null), "{json}");
}

#[tokio::test]
async fn stragglers_are_waited_for_and_slow_no_rate() {
    // The first connection is the probe for a server.
    let address = server(|mut stream, number| async move {
        while read(&mut stream).await {
            let delay = if number == 1 { 1_500 } else { 10 };
            pass(Duration::from_millis(delay)).await;
            answer(&mut stream).await;
        }
    });
    let json = load(on(2, seconds(0.5)), address.await, Http::One).await;
    assert!((0.5..1.4).contains(&float(&json, "/seconds")), "{json}");
    assert!(float(&json, "/last_answer_after_seconds") >= 1.4, "{json}");
    let (answers, rate) = (float(&json, "/requests"), float(&json, "/requests_per_second"));
    let after = answers - rate * float(&json, "/seconds");
    assert!((0.9..8.0).contains(&after), "what was under way at the end is in no rate: {json}");
    assert!(float(&json, "/latency/max") >= 1_500.0, "{json}");
}

#[tokio::test]
async fn content_counts_while_it_comes() {
    let address = server(|mut stream, _| async move {
        read(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
        let _ = stream.write_all(head).await;
        let part = vec![b'x'; 64 << 10];
        while stream.write_all(&part).await.is_ok() {}
    });
    let options = Options { timeout: Duration::from_millis(300), ..on(1, seconds(0.5)) };
    let json = load(options, address.await, Http::One).await;
    assert_eq!(json["requests"], 0);
    assert!(float(&json, "/bytes_per_second") > 1_000_000.0, "{json}");
    assert!(count(&json, "/intervals/0/bytes") > 0, "{json}");
}

/// The server is down for a moment: only the requests due meanwhile are lost.
#[tokio::test]
async fn a_server_that_is_down_loses_what_is_due_then() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let serve = |listener: TcpListener, time: u64| async move {
        let mut serving = tokio::task::JoinSet::new();
        let accepting = async {
            while let Ok((mut stream, _)) = listener.accept().await {
                serving.spawn(async move {
                    while read(&mut stream).await {
                        answer(&mut stream).await;
                    }
                });
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(time), accepting).await;
    };
    tokio::spawn(async move {
        serve(listener, 500).await;
        pass(Duration::from_millis(120)).await;
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.set_reuseaddr(true).expect("set");
        socket.bind(address).expect("bind");
        serve(socket.listen(64).expect("listen"), 10_000).await;
    });
    let seldom = Options { due: Due::Rate(10.0), ..on(8, seconds(2.0)) };
    let json = load(seldom, address, Http::One).await;
    let failed: u64 =
        json["failures"].as_object().expect("failures").values().filter_map(Value::as_u64).sum();
    assert_eq!(count(&json, "/requests") + failed, 20, "{json}");
    assert!(failed <= 6, "{json}");
}

#[tokio::test]
async fn connections_that_the_server_closes_lose_no_request() {
    // The server closes a connection after three requests, or after a short idle time, long before the next request.
    let address = server(|mut stream, _| async move {
        for request in 0..3 {
            let idle = Duration::from_millis(if request == 0 { 10_000 } else { 5 });
            if !tokio::time::timeout(idle, read(&mut stream)).await.unwrap_or(false) {
                return;
            }
            answer(&mut stream).await;
        }
    });
    let address = address.await;
    let seldom = Options { due: Due::Rate(20.0), ..on(2, seconds(1.0)) };
    let json = load(seldom, address, Http::One).await;
    assert_kept(&json, 20);
    let json = load(on(2, Until::Requests(31)), address, Http::One).await;
    let cut = count(&json, "/failures/cut off");
    assert_eq!(count(&json, "/requests") + cut, 31, "{json}");
}

type Heads = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// An HTTP/2 server that resets one stream of four and sends GOAWAY after this many requests.
/// The first request on each connection takes this much longer.
async fn http2_server(resets: bool, goes_away: usize, first: Duration) -> (SocketAddr, Heads) {
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    let address = server(move |stream, _| {
        let (seen, asked) = (Arc::clone(&seen), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&asked);
        let service = service_fn(move |request: Request<Incoming>| {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            let head = (request.uri().to_string(), request.headers().clone());
            seen.lock().expect("no panic").push(head);
            async move {
                let more = if number == 0 { first } else { Duration::ZERO };
                pass(Duration::from_millis(1) + more).await;
                if resets && number % 4 == 3 {
                    return Err("no");
                }
                Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
            }
        });
        async move {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let mut connection =
                std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            loop {
                tokio::select! {
                    _ = &mut connection => return,
                    () = pass(Duration::from_millis(1)) => {}
                }
                if asked.load(Ordering::Relaxed) >= goes_away {
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    });
    (address.await, heads)
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_neither_its_connection_nor_its_lane() {
    let (address, _) = http2_server(true, usize::MAX, Duration::ZERO).await;
    let options = Options { streams: number(4), ..on(1, Until::Requests(400)) };
    let json = load(options, address, Http::Two).await;
    assert_eq!((&json["requests"], &json["failures"]), (&json!(300), &json!({"cut off": 100})));
    let reason = json["reasons"]["cut off"].as_str().expect("a reason");
    assert!(reason.contains("stream"), "{reason}");
}

#[tokio::test]
async fn a_server_of_http2_that_goes_away_gracefully_loses_nothing() {
    let (address, _) = http2_server(false, 50, Duration::ZERO).await;
    let options = Options { streams: number(16), ..on(2, Until::Requests(1_000)) };
    let json = load(options, address, Http::Two).await;
    assert_eq!((&json["requests"], &json["failures"]), (&json!(1_000), &json!({})), "{json}");
}

#[tokio::test]
async fn a_connection_that_goes_away_slowly_is_replaced_at_once() {
    let (address, _) = http2_server(false, 5, Duration::from_millis(1_200)).await;
    let open = Options { due: Due::Rate(100.0), streams: number(4), ..on(1, seconds(0.5)) };
    let json = load(open, address, Http::Two).await;
    assert_kept(&json, 50);
}

#[tokio::test]
async fn a_server_that_reads_nothing_is_not_asked_for_ever() {
    let address = server(|stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.expect("h2");
        while let Some(Ok((_, mut answer))) = connection.accept().await {
            answer.send_reset(h2::Reason::REFUSED_STREAM);
        }
    });
    let options = Options { streams: number(4), ..on(1, Until::Requests(20)) };
    let json = load(options, address.await, Http::Two).await;
    assert_eq!(json["failures"], json!({"refused unread": 20}), "{json}");
}

#[tokio::test]
async fn fields_and_the_host_are_sent_as_they_are_given() {
    let (address, heads) = http2_server(false, usize::MAX, Duration::ZERO).await;
    let mut fields = HeaderMap::new();
    for (name, value) in [("host", "media.example.com"), ("cookie", "a=b"), ("cookie", "c=d")] {
        fields.append(name, value.parse().expect("a value"));
    }
    let options = Options { fields, ..on(1, Until::Requests(1)) };
    load(options.clone(), address, Http::Two).await;
    let (uri, fields) = heads.lock().expect("no panic").pop().expect("a request");
    assert_eq!((uri.as_str(), fields.get("host")), ("http://media.example.com/", None));
    assert_eq!(fields.get_all("cookie").iter().count(), 2);
    let (text, seen) = tokio::sync::oneshot::channel();
    let text = Mutex::new(Some(text));
    let shared = Arc::new(text);
    let address = server(move |mut stream, _| {
        let shared = Arc::clone(&shared);
        async move {
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&asked[..read]).into_owned();
            if read > 0
                && let Some(text) = shared.lock().expect("no panic").take()
            {
                let _ = text.send(head);
            }
            answer(&mut stream).await;
        }
    });
    load(options, address.await, Http::One).await;
    let head = seen.await.expect("a request");
    assert_eq!(head.matches("host: media.example.com").count(), 1, "{head}");
    assert_eq!(head.matches("host:").count(), 1, "{head}");
    assert!(head.contains("cookie: a=b") && head.contains("cookie: c=d"), "{head}");
}

#[tokio::test]
async fn failures_have_names_and_reasons() {
    let address = server(|mut stream, number| async move {
        read(&mut stream).await;
        if number % 2 == 1 {
            let short = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort";
            let _ = stream.write_all(short).await;
            return;
        }
        std::future::pending::<()>().await;
    });
    let options = Options { timeout: Duration::from_millis(200), ..on(1, Until::Requests(4)) };
    let json = load(options.clone(), address.await, Http::One).await;
    assert_eq!(json["failures"], json!({"cut off": 2, "timed out": 2}));
    assert!(json["reasons"]["cut off"].as_str().is_some_and(|reason| reason.contains("body")));
    assert_eq!(json["requests"], 0);
    // Requests that timed out waited at least this long.
    assert!(float(&json, "/latency/p90") >= 200.0, "{json}");

    // A TLS server's alert for a message that it cannot parse (RFC 8446 §6).
    let address = server(|mut stream, _| async move {
        read(&mut stream).await;
        let _ = stream.write_all(b"\x15\x03\x01\x00\x02\x02\x46").await;
    });
    let json = load(options.clone(), address.await, Http::One).await;
    let reason = json["reasons"]["cut off"].as_str().expect("a reason");
    assert!(reason.contains("https://"), "{reason}");

    // The server is up for the probe, and then down.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let once = tokio::spawn(async move {
        let _ = listener.accept().await;
    });
    let json = load(options.clone(), address, Http::One).await;
    once.await.expect("no panic");
    // A connection that still reaches the listener is cut off.
    let missed = count(&json, "/failures/not connected");
    assert_eq!(missed + count(&json, "/failures/cut off"), 4, "{json}");
    assert!(missed > 0, "{json}");
    let reason = json["reasons"]["not connected"].as_str().expect("a reason");
    assert!(reason.contains("refused") || reason.contains("reset"), "{reason}");
    // A server that is down at the start fails the run at once.
    let open = Options { due: Due::Rate(100.0), ..options };
    let targets = || Targets::new(&format!("http://{address}"), paths(&["/"]));
    let error = refusal(open, Line::clear(vec![address], Http::One), targets()).await;
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_server_without_http2_is_told_before_anything_is_measured() {
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("made");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.expect("a key"))
        .expect("a configuration");
    for protocols in [vec![b"http/1.1".to_vec()], vec![]] {
        let mut config = config.clone();
        config.alpn_protocols = protocols;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let address = server(move |stream, _| {
            let accepting = acceptor.accept(stream);
            async move {
                if let Ok(mut stream) = accepting.await {
                    let _ = stream.read(&mut [0; 4096]).await;
                }
            }
        });
        let address = address.await;
        let name = ServerName::try_from("a.example").expect("a name");
        let line = Line::encrypted(vec![address], Http::Two, name, Trust::Any);
        let targets = Targets::new("https://a.example", paths(&["/"]));
        let error = refusal(on(1, Until::Requests(1)), line.expect("a line"), targets).await;
        assert!(error.contains("the server does not support HTTP/2"), "{error}");
    }
}

#[tokio::test]
async fn who_interrupts_a_run_gets_its_figures_at_once() {
    // The server answers for a moment; then requests in flight get no response.
    let address = server(|mut stream, _| async move {
        for _ in 0..10 {
            read(&mut stream).await;
            answer(&mut stream).await;
        }
        std::future::pending::<()>().await;
    });
    let address = address.await;
    let open =
        Options { due: Due::Rate(100.0), timeout: Duration::from_secs(60), ..on(1, seconds(60.0)) };
    let targets = Targets::new(&format!("http://{address}"), paths(&["/"]));
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, line) = (Arc::clone(&stop), Line::clear(vec![address], Http::One));
    let running = tokio::task::spawn_blocking(move || {
        load::run(open, line, targets, &stopped, |_: LoadEvent<'_>| ()).expect("a report").json()
    });
    pass(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let json = tokio::time::timeout(PATIENCE, running).await.expect("at once");
    let json = json.expect("no panic");
    assert_eq!(json["requests"], 10, "{json}");
    assert!(float(&json, "/seconds") >= 0.4, "{json}");
    assert!(count(&json, "/failures/due, not sent") >= 25, "{json}");
    assert_eq!(count(&json, "/failures/interrupted"), 1, "{json}");
    assert!(float(&json, "/latency/p50") > 100.0, "{json}");
    assert_eq!(json["interrupted"], true);
}
