//! Connections to the server under test.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};
use tokio_rustls::TlsConnector;

use super::sender::{Asks, Sender};
pub use crate::outbound::TrustError;
use crate::outbound::trusted_roots;

/// The HTTP version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2; by prior knowledge if there is no TLS.
    Two,
    /// HTTP/3.
    Three,
}

/// The authorities that may issue the server's certificate.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The authorities that this machine trusts.
    Native,
    /// The authorities in a PEM file, and those that this machine trusts.
    File(&'a Path),
    /// Any issuer, for self-signed certificates.
    Any,
}

const NO_HTTP2: &str = "the server does not support HTTP/2 (by ALPN, RFC 7301); remove --http2";

const UNKNOWN_ISSUER: &str = "the server's certificate is not from a trusted authority; name the authority with --ca FILE, \
    or trust any certificate with --insecure";

const NO_SERVER_CERTIFICATE: &str = "the server's certificate is not a server certificate (`openssl req -x509` makes a CA \
    certificate, unless you add -addext basicConstraints=CA:FALSE); trust any certificate with --insecure";

const NO_ANSWER: &str = "the server does not answer over UDP: it has no HTTP/3 on this port, or a firewall is in between; \
    remove --http3";

fn too_slow(timeout: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {timeout:?}"))
}

/// The ALPN identifier of HTTP/2 over TLS (RFC 9113 §3.2).
const H2: &[u8] = b"h2";

/// The ALPN identifier of HTTP/3 (RFC 9114 §3.1).
const H3: &[u8] = b"h3";

/// Bytes of a response, and of a connection's responses together, that a server may send ahead: it must not wait for us.
const STREAM_WINDOW: u32 = 8 << 20;
const WINDOW: u32 = 64 << 20;

/// Bytes of the fields in a response over HTTP/3.
const MAX_FIELDS: u64 = 128 << 10;

/// The longest wait for the first answer over UDP, which is silent if nothing listens there.
const SILENCE: Duration = Duration::from_secs(5);

/// Opens connections to the server.
pub struct Line {
    addresses: Vec<SocketAddr>,
    http: Http,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// For HTTP/3.
    quic: Option<quinn::ClientConfig>,
}

impl Line {
    /// Connections without TLS.
    #[must_use]
    pub const fn clear(addresses: Vec<SocketAddr>, http: Http) -> Self {
        Self { addresses, http, tls: None, quic: None }
    }

    /// Connections with TLS to a server named `name`.
    ///
    /// # Errors
    /// When the trusted certificates cannot be loaded.
    pub fn encrypted(
        addresses: Vec<SocketAddr>,
        http: Http,
        name: ServerName<'static>,
        trust: Trust<'_>,
    ) -> Result<Self, TrustError> {
        let roots = match trust {
            Trust::Native => trusted_roots(None)?,
            Trust::File(path) => {
                let mut roots = trusted_roots(Some(path))?;
                if let Ok(native) = trusted_roots(None) {
                    roots.roots.extend(native.roots);
                }
                roots
            }
            Trust::Any => RootCertStore::empty(),
        };
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        if matches!(trust, Trust::Any) {
            let provider = Arc::new(aws_lc_rs::default_provider());
            config.dangerous().set_certificate_verifier(Arc::new(Any(provider)));
        }
        let protocol = match http {
            Http::One => b"http/1.1",
            Http::Two => H2,
            Http::Three => H3,
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let config = Arc::new(config);
        let quic = (http == Http::Three).then(|| quic(&config)).flatten();
        Ok(Self { addresses, http, tls: Some((TlsConnector::from(config), name)), quic })
    }

    /// Maximum concurrent requests on a connection, up to `wanted`.
    pub(super) const fn streams(&self, wanted: usize) -> usize {
        match self.http {
            Http::One => 1,
            Http::Two | Http::Three => wanted,
        }
    }

    pub(super) const fn http(&self) -> Http {
        self.http
    }

    pub(super) const fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Opens a connection within `timeout`.
    pub(super) async fn connect(&self, timeout: Duration) -> io::Result<Sender> {
        let opened = tokio::time::timeout(timeout, self.open()).await;
        opened.unwrap_or_else(|_| match self.http {
            Http::Three => Err(io::Error::other(NO_ANSWER)),
            Http::One | Http::Two => Err(too_slow(timeout)),
        })
    }

    async fn open(&self) -> io::Result<Sender> {
        if self.http == Http::Three {
            return self.open_quic().await;
        }
        let stream = TcpStream::connect(&*self.addresses).await?;
        stream.set_nodelay(true)?;
        let Some((connector, name)) = &self.tls else { return self.speak(stream).await };
        let stream = connector.connect(name.clone(), stream).await;
        let stream = stream.map_err(|error| self.in_words(error))?;
        if self.http == Http::Two && stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(io::Error::other(NO_HTTP2));
        }
        self.speak(stream).await
    }

    /// Opens a connection for HTTP/3 from a port of its own, so that the server's workers share the connections.
    async fn open_quic(&self) -> io::Result<Sender> {
        let (Some(config), Some((_, name))) = (&self.quic, &self.tls) else {
            return Err(io::Error::other("the TLS library cannot be used for HTTP/3"));
        };
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for server in &self.addresses {
            match speak_quic(config, *server, &name.to_str()).await {
                Ok(sender) => return Ok(sender),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects, and checks whether the server supports HTTP/2 without TLS, which connecting does not reveal.
    pub(crate) async fn try_out(&self, timeout: Duration) -> io::Result<()> {
        drop(self.connect(timeout).await?);
        if self.http != Http::Two || self.tls.is_some() {
            return Ok(());
        }
        let greeted = tokio::time::timeout(timeout, self.greet()).await;
        let understood = greeted.unwrap_or_else(|_| Err(too_slow(timeout)))?;
        let message = "the server does not support HTTP/2 without TLS; remove --http2, or use an https:// URL";
        understood.then_some(()).ok_or_else(|| io::Error::other(message))
    }

    /// Explains a TLS error and how to fix it.
    fn in_words(&self, error: io::Error) -> io::Error {
        use rustls::{CertificateError, Error, InvalidMessage};
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        let words = match cause {
            Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                match self.http {
                    Http::One => "the server supports only HTTP/2 (by ALPN, RFC 7301); add --http2",
                    Http::Two | Http::Three => NO_HTTP2,
                }
            }
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                "the server does not use TLS on this port; use an http:// URL"
            }
            Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => UNKNOWN_ISSUER,
            Some(Error::InvalidCertificate(CertificateError::Other(_))) => NO_SERVER_CERTIFICATE,
            _ => return error,
        };
        io::Error::other(words)
    }

    /// Whether the server answers the HTTP/2 preface with its own, a SETTINGS frame (RFC 9113 §3.4).
    async fn greet(&self) -> io::Result<bool> {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        const NO_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let mut stream = TcpStream::connect(&*self.addresses).await?;
        stream.write_all(&[PREFACE, &NO_SETTINGS].concat()).await?;
        let mut frame = [0; NO_SETTINGS.len()];
        let read = stream.read_exact(&mut frame).await;
        Ok(read.is_ok() && frame[3] == NO_SETTINGS[3])
    }

    async fn speak<S>(&self, stream: S) -> io::Result<Sender>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        // The channel carries no values; `open` is dropped when the connection ends.
        let (open, closed) = watch::channel(());
        if self.http == Http::Two {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(WINDOW);
            let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
            tokio::spawn(drive(connection, open));
            return Ok(Sender::new(Asks::Two(sender), closed));
        }
        let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
        tokio::spawn(drive(connection, open));
        Ok(Sender::new(Asks::One(sender), closed))
    }
}

/// Opens a connection for HTTP/3 to one address.
async fn speak_quic(
    config: &quinn::ClientConfig,
    server: SocketAddr,
    name: &str,
) -> io::Result<Sender> {
    let own: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let endpoint = quinn::Endpoint::client((own, 0).into())?;
    let connecting = endpoint.connect_with(config.clone(), server, name);
    let connecting = connecting.map_err(io::Error::other)?;
    let connected = tokio::time::timeout(SILENCE, connecting).await;
    let connected = connected.map_err(|_| io::Error::other(NO_ANSWER))?;
    let connection = connected.map_err(in_words_of_quic)?;
    let quic = crate::quic::Connection::new(connection);
    let mut builder = h3::client::builder();
    builder.max_field_section_size(MAX_FIELDS);
    let (mut connection, asks) = builder.build(quic).await.map_err(io::Error::other)?;
    let (open, closed) = watch::channel(());
    tokio::spawn(async move {
        // Requests report any error.
        let _ = std::future::poll_fn(|cx| connection.poll_close(cx)).await;
        drop((open, endpoint));
    });
    Ok(Sender::new(Asks::Three(asks), closed))
}

/// The configuration for QUIC; `None` if the TLS library cannot be used for it.
fn quic(tls: &Arc<ClientConfig>) -> Option<quinn::ClientConfig> {
    let tls = QuicClientConfig::try_from(Arc::clone(tls)).ok()?;
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(STREAM_WINDOW.into()).receive_window(WINDOW.into());
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    Some(config)
}

/// Explains why there is no QUIC connection, and how to fix it. quinn passes TLS errors on as text only.
fn in_words_of_quic(error: quinn::ConnectionError) -> io::Error {
    match error {
        quinn::ConnectionError::TransportError(error) if !error.reason.is_empty() => {
            io::Error::other(match () {
                () if error.reason.contains("UnknownIssuer") => UNKNOWN_ISSUER.to_owned(),
                () if error.reason.contains("Other(") => NO_SERVER_CERTIFICATE.to_owned(),
                () => error.reason,
            })
        }
        // What rustls answers if there is no certificate to show.
        quinn::ConnectionError::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::crypto(49) =>
        {
            io::Error::other("the server has no HTTP/3 for this host; remove --http3")
        }
        error => io::Error::other(error),
    }
}

/// Drives a connection until it ends. Its requests report any error.
async fn drive<T>(connection: impl Future<Output = hyper::Result<T>>, open: watch::Sender<()>) {
    let _ = connection.await;
    drop(open);
}

/// A verifier that accepts any certificate if the server has its key.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
