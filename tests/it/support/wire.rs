//! Both ends of a connection, byte by byte: an origin and a viewer whose messages the tests write themselves.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::viewer::PATIENCE;

/// A plain origin that does only what a test does.
pub(crate) struct WireOrigin {
    pub address: SocketAddr,
    listener: TcpListener,
}

impl WireOrigin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        Self { address: listener.local_addr().expect("address"), listener }
    }

    /// The next connection, and the head of its first request.
    pub(crate) async fn accept(&self) -> (Wire, String) {
        let accepted = timeout(PATIENCE, self.listener.accept()).await.expect("in time");
        let mut wire = Wire(accepted.expect("accepted").0);
        let head = wire.read_until("\r\n\r\n").await;
        (wire, head)
    }
}

/// One end of a connection.
pub(crate) struct Wire(pub TcpStream);

impl Wire {
    /// Connects and sends.
    pub(crate) async fn connect(server: SocketAddr, text: &str) -> Self {
        let mut wire = Self(TcpStream::connect(server).await.expect("connected"));
        wire.send(text).await;
        wire
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("sent");
    }

    /// Reads up to `end`, or to the end of the connection.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let read = async {
            while !text.ends_with(end.as_bytes()) {
                match self.0.read_u8().await {
                    Ok(byte) => text.push(byte),
                    Err(_) => break,
                }
            }
        };
        let in_time = timeout(PATIENCE, read).await.is_ok();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(in_time, "no {end:?} after {text:?}");
        text
    }

    /// Reads to the end of the connection.
    pub(crate) async fn read_rest(&mut self) -> String {
        let mut text = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut text)).await;
        // A reset is an end, too.
        let _ = read.expect("the connection ends");
        String::from_utf8_lossy(&text).into_owned()
    }
}
