//! Connections to the server under test.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
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

pub use crate::outbound::TrustError;
use crate::outbound::trusted_roots;

/// The HTTP version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2; by prior knowledge if there is no TLS.
    Two,
}

/// The authorities that may issue the server's certificate.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The authorities that this machine trusts.
    Native,
    /// The authorities in a PEM file.
    File(&'a Path),
    /// Any issuer, for self-signed certificates.
    Any,
}

const NO_HTTP2: &str = "the server does not support HTTP/2 (by ALPN, RFC 7301); remove --http2";

fn too_slow(timeout: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {timeout:?}"))
}

/// The ALPN identifier of HTTP/2 over TLS (RFC 9113 §3.2).
const H2: &[u8] = b"h2";

/// Opens connections to the server.
pub struct Line {
    addresses: Vec<SocketAddr>,
    http: Http,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Line {
    /// Connections without TLS.
    #[must_use]
    pub const fn clear(addresses: Vec<SocketAddr>, http: Http) -> Self {
        Self { addresses, http, tls: None }
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
            Trust::File(path) => trusted_roots(Some(path))?,
            Trust::Any => RootCertStore::empty(),
        };
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        if matches!(trust, Trust::Any) {
            let provider = Arc::new(aws_lc_rs::default_provider());
            config.dangerous().set_certificate_verifier(Arc::new(Any(provider)));
        }
        let protocol = if http == Http::Two { H2 } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self { addresses, http, tls: Some((TlsConnector::from(Arc::new(config)), name)) })
    }

    /// Maximum concurrent requests on a connection, up to `wanted`.
    pub(super) const fn streams(&self, wanted: usize) -> usize {
        match self.http {
            Http::One => 1,
            Http::Two => wanted,
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
        tokio::time::timeout(timeout, self.open()).await.unwrap_or_else(|_| Err(too_slow(timeout)))
    }

    async fn open(&self) -> io::Result<Sender> {
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

    /// Connects, and checks whether the server supports HTTP/2 without TLS, which connecting does not reveal.
    pub(super) async fn try_out(&self, timeout: Duration) -> io::Result<()> {
        drop(self.connect(timeout).await?);
        if self.http == Http::One || self.tls.is_some() {
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
                    Http::Two => NO_HTTP2,
                }
            }
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                "the server does not use TLS on this port; use an http:// URL"
            }
            Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                "the server's certificate is not from a trusted authority; name the authority with --ca FILE, or trust any \
                 certificate with --insecure"
            }
            Some(Error::InvalidCertificate(CertificateError::Other(_))) => {
                "the server's certificate is not a server certificate (`openssl req -x509` makes a CA certificate, unless you add \
                 -addext basicConstraints=CA:FALSE); trust any certificate with --insecure"
            }
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
        Ok(match self.http {
            Http::One => {
                let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
                tokio::spawn(drive(connection, open));
                Sender { asks: Asks::One(sender), closed }
            }
            Http::Two => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                // The server must not wait for us.
                builder
                    .initial_stream_window_size(8 << 20)
                    .initial_connection_window_size(64 << 20);
                let begun = builder.handshake(io).await.map_err(io::Error::other)?;
                tokio::spawn(drive(begun.1, open));
                Sender { asks: Asks::Two(begun.0), closed }
            }
        })
    }
}

/// Drives a connection until it ends. Its requests report any error.
async fn drive<T>(connection: impl Future<Output = hyper::Result<T>>, open: watch::Sender<()>) {
    let _ = connection.await;
    drop(open);
}

/// Sends requests on one connection.
pub(super) struct Sender {
    asks: Asks,
    closed: watch::Receiver<()>,
}

enum Asks {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl Sender {
    /// `count` senders on the same connection; only one with HTTP/1.1.
    pub(super) fn shared(self, count: usize) -> Vec<Self> {
        let Self { asks: Asks::Two(asks), closed } = &self else { return vec![self] };
        let one = |_| Self { asks: Asks::Two(asks.clone()), closed: closed.clone() };
        (0..count).map(one).collect()
    }

    /// A receiver that changes when the connection ends.
    pub(super) fn closed(&self) -> watch::Receiver<()> {
        self.closed.clone()
    }

    /// Whether the connection can take a request.
    pub(super) async fn is_ready(&mut self) -> bool {
        match &mut self.asks {
            Asks::One(sender) => sender.ready().await.is_ok(),
            Asks::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        match &mut self.asks {
            Asks::One(sender) => sender.send_request(request).await,
            Asks::Two(sender) => sender.send_request(request).await,
        }
    }
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
