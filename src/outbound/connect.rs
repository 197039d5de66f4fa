//! TCP and TLS connections to an origin.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{address::Address, error::Error, timing::Timing};
use crate::{
    base::{
        clock::Stopwatch,
        write_layer::{WriteLayer, impl_async_write},
    },
    http::body::Body,
};

/// The reason why an origin's trusted certificates cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// `ca_file` cannot be read.
    #[error("cannot read certificates from `{}`: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// This machine has no trusted certificates.
    #[error(
        "this machine has no trusted CA certificates: install the package `ca-certificates`, or set `ca_file`"
    )]
    NoNativeRoots,
}

/// Opens connections to one address.
pub(crate) struct Connector {
    address: Address,
    tls: Option<TlsConnector>,
    timeout: Duration,
    attempts: usize,
    head: HeadLimits,
    /// The index of the first address to try, among those of the host: the last one that worked.
    start: AtomicUsize,
}

/// Limits on the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Length of the head in bytes. This also limits how far a connection reads ahead.
    pub bytes: usize,
    /// Field lines.
    pub fields: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 128 << 10, fields: 500 }
    }
}

impl Connector {
    pub(crate) fn new(
        address: Address,
        ca_file: Option<&Path>,
        timeout: Duration,
        attempts: u32,
        head: HeadLimits,
    ) -> Result<Self, TrustError> {
        let tls = if address.tls { Some(tls_connector(ca_file)?) } else { None };
        let attempts = usize::try_from(attempts).unwrap_or(1);
        Ok(Self { address, tls, timeout, attempts, head, start: AtomicUsize::new(0) })
    }

    /// Connects. On failure it retries up to the configured number of attempts, as long as `may_retry` allows it, each
    /// time with the next address of the host.
    pub(crate) async fn connect(
        &self,
        may_retry: impl Fn() -> bool,
    ) -> Result<(SendRequest<Body>, Timing), Error> {
        let start = self.start.load(Ordering::Relaxed);
        let mut attempt = 0;
        loop {
            let connecting = self.connect_once(start.wrapping_add(attempt));
            let error = match tokio::time::timeout(self.timeout, connecting).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => error,
                Err(_) => Error::ConnectTimeout,
            };
            if attempt == 0 && !matches!(error, Error::Dns(_)) {
                // Other requests start with the next address. If several fail together, only one advances it.
                let next = start.wrapping_add(1);
                let _ =
                    self.start.compare_exchange(start, next, Ordering::Relaxed, Ordering::Relaxed);
            }
            attempt += 1;
            // A TLS refusal is final for now; another attempt would only add load.
            let is_final = matches!(error, Error::Tls(_));
            if is_final || attempt >= self.attempts || !may_retry() {
                return Err(error);
            }
        }
    }

    /// Connects to the first of the host's addresses that accepts, in order from `start`.
    async fn connect_once(&self, start: usize) -> Result<(SendRequest<Body>, Timing), Error> {
        let watch = Stopwatch::start();
        let host = (self.address.host.as_str(), self.address.port);
        let addresses: Vec<_> = tokio::net::lookup_host(host).await.map_err(Error::Dns)?.collect();
        let dns = watch.elapsed();
        let start = start % addresses.len().max(1);
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (place, address) in
            addresses.iter().enumerate().cycle().skip(start).take(addresses.len())
        {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let sender = self.handshake(stream).await?;
                    self.start.store(place, Ordering::Relaxed);
                    let connect = watch.elapsed().saturating_sub(dns);
                    return Ok((sender, Timing { dns, connect, ..Timing::default() }));
                }
                Err(error) => last = error,
            }
        }
        Err(Error::Connect(last))
    }

    async fn handshake(&self, stream: TcpStream) -> Result<SendRequest<Body>, Error> {
        stream.set_nodelay(true).map_err(Error::Connect)?;
        let stream = PromptAck(stream);
        match &self.tls {
            None => speak_http(stream, self.head).await,
            Some(connector) => {
                let name = ServerName::try_from(self.address.host.clone())
                    .map_err(|error| Error::Tls(io::Error::other(error)))?;
                let stream = connector.connect(name, stream).await.map_err(Error::Tls)?;
                speak_http(stream, self.head).await
            }
        }
    }
}

async fn speak_http<S>(stream: S, head: HeadLimits) -> Result<SendRequest<Body>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    // No ledger counts the bytes read ahead.
    builder.max_buf_size(head.bytes).max_headers(head.fields);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // A failure also reaches the request that waits for a response.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

fn tls_connector(ca_file: Option<&Path>) -> Result<TlsConnector, TrustError> {
    let roots = trusted_roots(ca_file)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The certificate authorities in a PEM file, or those that this machine trusts.
///
/// # Errors
/// When the file cannot be read, or there are no authorities.
pub(crate) fn trusted_roots(ca_file: Option<&Path>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let refuse = |reason: String| TrustError::CaFile { path: path.to_owned(), reason };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
                roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(refuse("the file has no PEM certificate".into()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TrustError::NoNativeRoots);
            }
        }
    }
    Ok(roots)
}

/// A TCP stream that acknowledges immediately.
///
/// Some S3 servers write head and body in two segments without `TCP_NODELAY`. The second waits for our
/// acknowledgement, which Linux delays by 40 ms unless `TCP_QUICKACK` is set before each read.
struct PromptAck(TcpStream);

impl AsyncRead for PromptAck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.0).poll_read(cx, buffer));
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&self.0).set_tcp_quickack(true);
        Poll::Ready(result)
    }
}

impl WriteLayer for PromptAck {}

impl_async_write!([] PromptAck, 0);
