//! A client that sends requests as a viewer would.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A response with its complete body.
pub(super) struct DemoResponse {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    pub(super) content: Bytes,
}

impl DemoResponse {
    /// A field's value as text; empty if there is none.
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Sends one request on a new connection.
pub(super) async fn send(
    server: SocketAddr,
    request: http::request::Builder,
    content: &'static str,
) -> Result<DemoResponse, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request: Request<Full<Bytes>> =
        request.header("host", server.to_string()).body(Full::from(content))?;
    let response = sender.send_request(request).await?;
    let (parts, body) = response.into_parts();
    let content = body.collect().await?.to_bytes();
    driver.abort();
    Ok(DemoResponse { status: parts.status, fields: parts.headers, content })
}
