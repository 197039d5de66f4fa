//! Viewers: HTTP over real sockets, well-behaved or byte by byte.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The longest wait in these tests, unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A response read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub fields: HeaderMap,
    pub content: Bytes,
    /// Whether the transfer broke off.
    pub aborted: bool,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn x_cache(&self) -> &str {
        self.field("x-cache").strip_suffix(" from forebay").unwrap_or_default()
    }
}

#[derive(Clone)]
pub(crate) struct Viewer {
    server: SocketAddr,
    fields: Vec<(String, String)>,
}

impl Viewer {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self { server, fields: Vec::new() }
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) async fn get(self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub(crate) async fn head(self, path: &str) -> Answer {
        self.send("HEAD", path, "").await
    }

    pub(crate) async fn send(self, method: &str, path: &str, content: impl Into<Bytes>) -> Answer {
        let response = self.begin(method, path, content).await;
        tokio::time::timeout(PATIENCE, read(response)).await.expect("an answer in time")
    }

    /// Sends a request and returns the response after its head.
    pub(crate) async fn begin(
        self,
        method: &str,
        path: &str,
        content: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        let stream = TcpStream::connect(self.server).await.expect("connected");
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(1000)
            .handshake(TokioIo::new(stream))
            .await
            .expect("h1");
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !self.fields.iter().any(|(name, _)| name == "host") {
            request = request.header("host", "media.example.com");
        }
        for (name, value) in &self.fields {
            request = request.header(name, value);
        }
        let request = request.body(Full::<Bytes>::from(content.into())).expect("request");
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
        answer.expect("a head in time").expect("a head")
    }
}

/// One connection for many requests.
pub(crate) struct Sender(http1::SendRequest<Full<Bytes>>);

impl Sender {
    /// Sends a request without content and reads the answer to its end.
    pub(crate) async fn send(&mut self, method: &str, path: &str) -> StatusCode {
        self.0.ready().await.expect("a connection");
        let request = Request::builder().method(method).uri(path).header("host", "h");
        let request = request.body(Full::default()).expect("request");
        let answer = tokio::time::timeout(PATIENCE, self.0.send_request(request)).await;
        let answer = read(answer.expect("a head in time").expect("a head")).await;
        answer.status
    }
}

impl Viewer {
    pub(crate) async fn connect(&self) -> Sender {
        let stream = TcpStream::connect(self.server).await.expect("connected");
        stream.set_nodelay(true).expect("nodelay");
        let (sender, connection) = http1::Builder::new()
            .max_headers(1000)
            .handshake(TokioIo::new(stream))
            .await
            .expect("h1");
        tokio::spawn(connection);
        Sender(sender)
    }
}

pub(crate) async fn read(response: http::Response<Incoming>) -> Answer {
    let (parts, mut body) = response.into_parts();
    let (mut content, mut aborted) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => content.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => {
                aborted = true;
                break;
            }
        }
    }
    Answer { status: parts.status, fields: parts.headers, content: content.into(), aborted }
}

/// Sends raw bytes and returns the server's data until it closes.
pub(crate) async fn raw(server: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server).await.expect("connected");
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Bytes that encode their position.
pub(crate) fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| ((at % 251) ^ (at >> 12)).to_le_bytes()[0]).collect()
}
