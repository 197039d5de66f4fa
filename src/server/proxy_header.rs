//! The PROXY protocol, versions 1 and 2 (HAProxy, "The PROXY protocol"): a TCP load balancer sends the
//! viewer's address before the first byte.

use std::{io, net::SocketAddr};

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of either version, read at once: no header is shorter.
const FIRST: usize = 12;

/// Longest header of version 1, with its line end.
const LONGEST_TEXT: usize = 107;

/// Bytes of version 2 before its addresses.
const FIXED: usize = 16;

/// Longest rest of version 2: addresses and ample room for the extra fields that proxies send.
const LONGEST_REST: usize = 4096;

/// Reads exactly one header. `None` if the proxy speaks for itself.
///
/// # Errors
/// When there is no valid header.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; FIRST];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        header.resize(FIXED, 0);
        stream.read_exact(&mut header[FIRST..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
        if rest > LONGEST_REST {
            return Err(malformed());
        }
        header.resize(FIXED + rest, 0);
        stream.read_exact(&mut header[FIXED..]).await?;
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        while header.last() != Some(&b'\n') && header.len() < LONGEST_TEXT {
            header.push(stream.read_u8().await?);
        }
    }
    match HeaderResult::parse(&header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(a) => Some((a.source_address, a.source_port).into()),
            v1::Addresses::Tcp6(a) => Some((a.source_address, a.source_port).into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Ok(None),
        HeaderResult::V2(Ok(header)) => Ok(match header.addresses {
            v2::Addresses::IPv4(a) => Some((a.source_address, a.source_port).into()),
            v2::Addresses::IPv6(a) => Some((a.source_address, a.source_port).into()),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(malformed()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the connection does not begin with a valid PROXY header",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(mut bytes: &[u8]) -> (Result<Option<SocketAddr>, io::ErrorKind>, Vec<u8>) {
        let source = read(&mut bytes).await.map_err(|error| error.kind());
        (source, bytes.to_vec())
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, addresses].concat()
    }

    #[tokio::test]
    async fn headers_tell_the_address_and_leave_the_rest() {
        let ipv4 = [203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb];
        let with_more = [&ipv4[..], &[0x04, 0, 1, 0]].concat();
        for (header, expected) in [
            (&b"PROXY TCP4 203.0.113.9 10.0.0.1 4660 443\r\n"[..], Some("203.0.113.9:4660")),
            (b"PROXY TCP6 2001:db8::9 ::1 4660 443\r\n", Some("[2001:db8::9]:4660")),
            (b"PROXY UNKNOWN\r\n", None),
            (&binary(0x21, 0x11, &ipv4), Some("203.0.113.9:4660")),
            (&binary(0x21, 0x11, &with_more), Some("203.0.113.9:4660")),
            (&binary(0x20, 0x00, &[]), None),
        ] {
            let stream = [header, b"GET / HTTP/1.1\r\n"].concat();
            let (source, rest) = of(&stream).await;
            assert_eq!(source, Ok(expected.map(|text| text.parse().expect("address"))));
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
        for stream in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY TCP4 203.0.113.9\r\n more",
            b"PROXY TCP4 999.0.113.9 10.0.0.1 4660 443\r\n",
            &long,
            &binary(0x31, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 4]),
            &[v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xff, 0xff], &[0; 100]].concat(),
            b"PROXY",
        ] {
            assert!(of(stream).await.0.is_err(), "{:?}", String::from_utf8_lossy(stream));
        }
    }
}
