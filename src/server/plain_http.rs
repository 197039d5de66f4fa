//! Plain HTTP on a port for HTTPS: it is answered with the reason instead of being closed.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Time for the client to read the response and close the connection.
const CLOSING: Duration = Duration::from_secs(1);

/// Bytes of the request that are discarded. The kernel resets a connection that is closed with unread bytes.
const MAX_DISCARDED: u64 = 64 << 10;

const RESPONSE: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 60\r\n\
    Connection: close\r\n\r\n\
    This port serves HTTPS only: use https:// instead of http://";

/// Whether the client speaks plain HTTP. A TLS connection begins with the byte 22, a request with its method.
pub(super) async fn is_plain(stream: &TcpStream) -> bool {
    let mut first = [0];
    let read = stream.peek(&mut first).await;
    read.is_ok_and(|read| read > 0) && first[0].is_ascii_uppercase()
}

/// Answers with 400 and the reason.
pub(super) async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(RESPONSE).await?;
    stream.shutdown().await?;
    let (mut rest, mut nowhere) = (stream.take(MAX_DISCARDED), tokio::io::sink());
    let discarded = tokio::io::copy(&mut rest, &mut nowhere);
    let _ = tokio::time::timeout(CLOSING, discarded).await;
    Err(io::Error::other("plain HTTP on a port for HTTPS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_length_is_that_of_the_text() {
        let text = std::str::from_utf8(RESPONSE).expect("text");
        let (head, content) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}\r\n", content.len())));
    }
}
