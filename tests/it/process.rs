//! The program as a process: its signals, its pipes and its limits.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    bucket::{ACCESS_KEY, Bucket, NAME, SECRET_KEY},
    script::Script,
    time::{arrive, eventually, pass},
    viewer::{PATIENCE, Viewer, raw},
};

struct Process {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    _folder: tempfile::TempDir,
}

/// Settings for starting the process.
struct Start<'a> {
    /// More lines of `[listen]`.
    listen: &'a str,
    /// The table `[access_log]`.
    access_log: &'a str,
    stdout: Stdio,
    stderr: Stdio,
    log: &'a str,
    open_files: u32,
    /// The origin's address, if not the script's.
    origin: Option<String>,
    environment: Vec<(&'a str, String)>,
}

impl Default for Start<'_> {
    fn default() -> Self {
        Self {
            listen: "",
            access_log: "format = \"off\"",
            stdout: Stdio::null(),
            stderr: Stdio::null(),
            log: "error",
            open_files: 1024,
            origin: None,
            environment: Vec::new(),
        }
    }
}

fn free_address() -> SocketAddr {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    listener.local_addr().expect("address")
}

impl Process {
    async fn start(origin: SocketAddr, start: Start<'_>) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let (address, admin) = (free_address(), free_address());
        let Start {
            listen,
            access_log,
            stdout,
            stderr,
            log,
            open_files,
            origin: place,
            environment,
        } = start;
        let place = place.unwrap_or_else(|| format!("url = \"http://{origin}\""));
        let config = folder.path().join("forebay.toml");
        let text = format!(
            r#"
[listen]
http = "{address}"
workers = 1
{listen}
[admin]
listen = "{admin}"
[access_log]
{access_log}
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "app"
{place}
[distribution.default_behavior]
origin = "app"
cache_policy = "CachingOptimized"
"#
        );
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {open_files} && exec \"$0\" \"$@\""));
        command
            .arg(env!("CARGO_BIN_EXE_forebay"))
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .env("FOREBAY_LOG", log);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", folder.path());
        command.envs(environment);
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
        let process = Self { child: child.expect("started"), address, admin, _folder: folder };
        eventually(|| std::net::TcpStream::connect(admin).is_ok()).await;
        process
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    }

    /// Waits for the process to end; panics if it does not.
    async fn ended(&mut self) {
        eventually(|| self.child.try_wait().expect("a child").is_some()).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe of this many bytes that is not read.
fn stalled_pipe(bytes: usize) -> (OwnedFd, Stdio) {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    rustix::pipe::fcntl_setpipe_size(&writer, bytes).expect("a small pipe");
    (reader, writer.into())
}

#[tokio::test]
async fn a_log_that_is_not_read_stops_nothing() {
    let script = Script::start().await;
    script.then(200, &["Cache-Control: max-age=3600"], "content");
    // Two pages: a write of up to a page waits until all of it fits, so a waiting writer means more than one full page.
    let (reader, stderr) = stalled_pipe(8192);
    let start = Start { stderr, log: "debug", ..Start::default() };
    let mut process = Process::start(script.address, start).await;
    assert_eq!(Viewer::new(process.address).get("/hit").await.status, 200);
    // Each request ends its connection and writes a line to the log.
    for _ in 0..100 {
        assert!(raw(process.address, b"no request\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    }
    assert_eq!(Viewer::new(process.address).get("/hit").await.x_cache(), "Hit");
    assert_eq!(Viewer::new(process.admin).get("/healthz").await.status, 200);
    process.terminate();
    process.ended().await;
    let mut text = String::new();
    let _ = File::from(reader).take(8192).read_to_string(&mut text);
    assert!(text.len() > 3000, "the pipe was not full: {text}");
}

#[tokio::test]
async fn a_stalled_access_log_does_not_keep_the_process() {
    let script = Script::start().await;
    script.then(200, &["Cache-Control: max-age=3600"], "content");
    let (_reader, stdout) = stalled_pipe(4096);
    let start = Start {
        // The access log does not wait for the whole drain.
        listen: "drain = \"1h\"",
        access_log: "format = \"json\"",
        stdout,
        ..Start::default()
    };
    let mut process = Process::start(script.address, start).await;
    for _ in 0..100 {
        assert_eq!(Viewer::new(process.address).get("/hit").await.status, 200);
    }
    process.terminate();
    process.ended().await;
}

/// Sends requests on kept and on new connections until the address refuses both.
async fn keep_asking(address: SocketAddr, done: &AtomicUsize, stopped: &AtomicBool) -> Vec<String> {
    let mut lost = Vec::new();
    loop {
        let Ok(mut stream) = TcpStream::connect(address).await else { return lost };
        let _ = stream.set_nodelay(true);
        loop {
            let sent = stream.write_all(b"GET /hit HTTP/1.1\r\nHost: h\r\n\r\n").await;
            let answer = match sent {
                Ok(()) => read_answer(&mut stream).await,
                Err(error) => Err(error.to_string()),
            };
            match answer {
                Ok(closes) => {
                    done.fetch_add(1, Ordering::Relaxed);
                    if closes {
                        break;
                    }
                }
                Err(reason) => {
                    lost.push(reason);
                    break;
                }
            }
        }
        if stopped.load(Ordering::Relaxed) && lost.len() > 10 {
            return lost;
        }
    }
}

/// Reads one response of 7 bytes and returns whether the connection closes after it.
async fn read_answer(stream: &mut TcpStream) -> Result<bool, String> {
    let mut answer = Vec::new();
    loop {
        let mut part = [0; 2048];
        match stream.read(&mut part).await {
            Ok(0) => return Err(format!("closed after {} bytes", answer.len())),
            Ok(read) => answer.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
        if answer.ends_with(b"\r\n\r\ncontent") {
            let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
            return Ok(text.contains("connection: close"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_no_request() {
    let script = Script::start().await;
    script.then(200, &["Cache-Control: max-age=3600"], "content");
    let start = Start { listen: "drain_delay = \"300ms\"\ndrain = \"10s\"", ..Start::default() };
    let mut process = Process::start(script.address, start).await;
    assert_eq!(Viewer::new(process.address).get("/hit").await.status, 200);
    let done = Arc::new(AtomicUsize::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    let address = process.address;
    let askers: Vec<_> = (0..32)
        .map(|_| {
            let (done, stopped) = (Arc::clone(&done), Arc::clone(&stopped));
            tokio::spawn(async move { keep_asking(address, &done, &stopped).await })
        })
        .collect();
    eventually(|| done.load(Ordering::Relaxed) >= 3_000).await;
    process.terminate();
    process.ended().await;
    stopped.store(true, Ordering::Relaxed);
    for asker in askers {
        assert_eq!(asker.await.expect("asked"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_viewer_that_sends_no_more_gets_its_answer() {
    let script = Script::start().await;
    let large = "x".repeat(8 << 20);
    let fresh = ["Cache-Control: max-age=3600", "ETag: \"a\""];
    script.then(200, &fresh, &large).then(200, &fresh, "slow");
    let process = Process::start(script.address, Start::default()).await;
    Viewer::new(process.address).get("/large").await;
    for (method, path, length) in
        [("GET", "/large", 8 << 20), ("HEAD", "/large", 0), ("GET", "/slow", 4)]
    {
        script.hold();
        let mut stream = TcpStream::connect(process.address).await.expect("connected");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("half closed");
        arrive().await;
        script.release();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.expect("in time").expect("read");
        let head = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("a head") + 4;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{method} {path}");
        assert_eq!(answer.len() - head, length, "{method} {path}");
    }
}

fn bucket_at(bucket: &Bucket) -> String {
    let address = bucket.address;
    format!("bucket = \"{NAME}\"\nregion = \"us-east-1\"\nendpoint = \"http://{address}\"")
}

#[tokio::test]
async fn keys_that_end_in_a_line_feed_sign() {
    let bucket = Bucket::start().await;
    bucket.put("a", "content");
    let environment = vec![
        ("AWS_ACCESS_KEY_ID", format!("{ACCESS_KEY}\n")),
        ("AWS_SECRET_ACCESS_KEY", format!("{SECRET_KEY}\r\n")),
    ];
    let start = Start { origin: Some(bucket_at(&bucket)), environment, ..Start::default() };
    let process = Process::start(bucket.address, start).await;
    let answer = Viewer::new(process.address).get("/a").await;
    assert_eq!((answer.status.as_u16(), &answer.content[..]), (200, &b"content"[..]));
}

#[tokio::test]
async fn keys_that_cannot_sign_are_reported_and_no_request_is_sent() {
    let bucket = Bucket::start().await;
    bucket.put("a", "content");
    let environment = vec![
        ("AWS_ACCESS_KEY_ID", "AKID\nTEST".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
    ];
    let start = Start { origin: Some(bucket_at(&bucket)), environment, ..Start::default() };
    let process = Process::start(bucket.address, start).await;
    let answer = Viewer::new(process.address).get("/a").await;
    assert_eq!(answer.status.as_u16(), 502);
    let ready = Viewer::new(process.admin).get("/readyz").await;
    assert_eq!(ready.status.as_u16(), 503);
    assert!(String::from_utf8_lossy(&ready.content).contains("missing"));
    assert_eq!(bucket.gets(), []);
}

/// A slow credential service of a container.
async fn slow_credentials() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                pass(Duration::from_millis(1_500)).await;
                let content = format!(
                    "{{\"AccessKeyId\":\"{ACCESS_KEY}\",\"SecretAccessKey\":\"{SECRET_KEY}\",\"Token\":\"t\",\"Expiration\":\"2199-01-01T00:00:00Z\"}}"
                );
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{content}",
                    content.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn requests_wait_for_the_credentials_of_a_container() {
    let bucket = Bucket::start().await;
    bucket.put("a", "content");
    let service = slow_credentials().await;
    let environment =
        vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{service}/credentials"))];
    let start = Start { origin: Some(bucket_at(&bucket)), environment, ..Start::default() };
    let process = Process::start(bucket.address, start).await;
    let ready = Viewer::new(process.admin).get("/readyz").await;
    assert!(String::from_utf8_lossy(&ready.content).contains("loading"), "{ready:?}");
    let answer = Viewer::new(process.address).get("/a").await;
    assert_eq!((answer.status.as_u16(), &answer.content[..]), (200, &b"content"[..]));
}

/// This many connections from one address that send nothing.
async fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(TcpStream::connect(address).await.expect("connected"));
    }
    connections
}

async fn get_from(local: [u8; 4], address: SocketAddr, path: &str) -> String {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::from(local), 0).into()).expect("bound");
    let mut stream = socket.connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("an answer in time").expect("read");
    answer
}

#[tokio::test]
async fn silent_connections_of_one_client_leave_room_for_others() {
    let script = Script::start().await;
    script.then(200, &["Cache-Control: max-age=3600"], "content");
    let start = Start { listen: "max_connections = 200", ..Start::default() };
    let process = Process::start(script.address, start).await;
    let _silent = silent(process.address, 210).await;
    for path in ["/a", "/a"] {
        let answer = get_from([127, 0, 0, 2], process.address, path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let metrics = get_from([127, 0, 0, 1], process.admin, "/metrics").await;
    assert!(metrics.contains("forebay_client_limit_connections_total 160"), "{metrics}");
}

#[tokio::test]
async fn the_admin_address_answers_when_descriptors_run_out() {
    let script = Script::start().await;
    let start = Start { open_files: 64, ..Start::default() };
    let process = Process::start(script.address, start).await;
    let mut all = Vec::new();
    for last in 1..=10 {
        for _ in 0..20 {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).expect("bound");
            all.push(socket.connect(process.address).await.expect("connected"));
        }
    }
    for _ in 0..3 {
        let answer = get_from([127, 0, 0, 1], process.admin, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn connections_without_a_request_end_soon_when_few_are_left() {
    let script = Script::start().await;
    script.then(200, &["Cache-Control: max-age=3600"], "content");
    let listen =
        "max_connections = 20\nmax_connections_per_client = 20\nheader_timeout = \"300ms\"";
    let process = Process::start(script.address, Start { listen, ..Start::default() }).await;
    let _silent = silent(process.address, 20).await;
    let answer = get_from([127, 0, 0, 2], process.address, "/a").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
