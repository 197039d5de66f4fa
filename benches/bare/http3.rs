//! The least that a server over quinn and h3 does: it answers every request with the same fields and bytes from memory,
//! without a cache, a log or limits. It has the usual transport for h3, where Forebay has its own. `benches/compare` measures Forebay against it.
//!
//! `bare_http3 CERTIFICATE KEY HTTP_PORT HTTPS_PORT` serves `/LENGTH.jpg` over HTTP/3 at the second port. At the first,
//! it answers plain HTTP, so that others see when it is ready.

use std::{error::Error, net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use h3::server::{RequestResolver, RequestStream};
use http::{HeaderValue, Response, header};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{io::AsyncWriteExt, net::TcpListener};

/// As Forebay.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The longest content in bytes.
const LONGEST: usize = 1 << 20;

/// The fields of a hit, whose encoding costs as much here as there.
const FIELDS: [(&str, &str); 11] = [
    ("content-type", "image/jpeg"),
    ("cache-control", "public, max-age=86400"),
    ("etag", "\"400\""),
    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("accept-ranges", "bytes"),
    ("age", "1"),
    ("date", "Mon, 30 Nov 2026 04:43:42 GMT"),
    ("via", "3 forebay-8861a6e26313ded0"),
    ("x-cache", "Hit from forebay"),
    ("cache-status", "Forebay; hit; ttl=86399"),
    ("x-request-id", "ElH0N3_szkqLRPeulptVbA"),
];

type Resolver = RequestResolver<h3_quinn::Connection, Bytes>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [certificate, key, http, https] = &arguments[..] else {
        return Err("expected CERTIFICATE KEY HTTP_PORT HTTPS_PORT".into());
    };
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let mut tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let address = (Ipv4Addr::LOCALHOST, https.parse()?).into();
    let endpoint = quinn::Endpoint::server(config, address)?;
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, http.parse()?)).await?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let content = Bytes::from(vec![b'x'; LONGEST]);
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(serve(incoming, content.clone()));
    }
    Ok(())
}

/// Serves a connection to its end.
async fn serve(incoming: quinn::Incoming, content: Bytes) {
    let Ok(connection) = incoming.await else { return };
    let transport = h3_quinn::Connection::new(connection);
    let built = h3::server::builder().send_grease(false).build(transport).await;
    let Ok(mut http3) = built else { return };
    while let Ok(Some(resolver)) = http3.accept().await {
        tokio::spawn(answer(resolver, content.clone()));
    }
}

async fn answer(resolver: Resolver, content: Bytes) {
    let Ok((request, stream)) = resolver.resolve_request().await else { return };
    let length = request.uri().path().trim_matches(|c: char| !c.is_ascii_digit()).parse();
    let length = length.map_or(0, |length: usize| length.min(LONGEST));
    // A client that is gone needs no response.
    let _ = send(stream, content.slice(..length)).await;
}

async fn send(
    mut stream: RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>,
    content: Bytes,
) -> Result<(), h3::error::StreamError> {
    let mut head = Response::new(());
    let fields = head.headers_mut();
    for (name, value) in FIELDS {
        fields.insert(name, HeaderValue::from_static(value));
    }
    fields.insert(header::CONTENT_LENGTH, content.len().into());
    stream.send_response(head).await?;
    stream.send_data(content).await?;
    stream.finish().await
}
