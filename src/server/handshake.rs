//! TLS handshakes, and the reasons why they fail.

use std::{io, net::IpAddr, time::Duration};

use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{Shared, TlsSettings};
use crate::{
    base::{
        clock::Clock,
        log::{LogLimiter, unless_zero},
    },
    behavior::SecurityPolicy,
    proxy::Cipher,
};

/// Shakes hands with a viewer. A failure is counted and logged.
pub(super) async fn shake_hands(
    stream: TcpStream,
    settings: &TlsSettings,
    (client, shared): (IpAddr, &Shared),
) -> io::Result<(TlsStream<TcpStream>, SecurityPolicy)> {
    let mut host = None;
    let shaken = with_timeout(shared.limits.handshake_timeout, accept(stream, settings, &mut host));
    shaken.await.inspect_err(|error| report(shared, client, host.as_deref(), error))
}

async fn with_timeout<T>(
    limit: Duration,
    shaking: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake timed out");
    tokio::time::timeout(limit, shaking).await.map_err(late)?
}

async fn accept(
    stream: TcpStream,
    settings: &TlsSettings,
    host: &mut Option<String>,
) -> io::Result<(TlsStream<TcpStream>, SecurityPolicy)> {
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    *host = Some(hello.client_hello().server_name().unwrap_or("-").to_owned());
    let selected = settings.select(&hello.client_hello());
    Ok((hello.into_stream(selected.config).await?, selected.security))
}

/// Counts a failure. Logs it if the client had sent its first message: others are probes of ports.
fn report(shared: &Shared, client: IpAddr, host: Option<&str>, error: &io::Error) {
    static LINES: LogLimiter = LogLimiter::new();
    let (reason, advice) = words(error);
    shared.metrics.handshake_failed(reason);
    let Some(host) = host else { return };
    if let Some(suppressed) = LINES.admit(Clock::system().now()) {
        tracing::warn!(
            %client,
            host,
            reason,
            %error,
            suppressed = unless_zero(suppressed),
            help = advice,
            "a TLS handshake failed"
        );
    }
}

/// A failure as one of a few words, and what to do about it.
fn words(error: &io::Error) -> (&'static str, &'static str) {
    use rustls::Error as Tls;
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Tls>());
    match (cause, error.kind()) {
        (Some(Tls::AlertReceived(_)), _) => {
            ("refused by the client", "it probably does not trust the certificate")
        }
        (Some(Tls::NoApplicationProtocol), _) => {
            ("no common protocol", "the client must speak HTTP/1.1 or HTTP/2")
        }
        (Some(Tls::PeerIncompatible(_)), _) => (
            "no common version or cipher",
            "the client is too old for `minimum_protocol_version` of the distribution",
        ),
        (Some(Tls::General(_)), _) => (
            "no certificate",
            "no certificate covers this host: see `listen.tls` and `listen.acme`",
        ),
        (Some(Tls::NoCertificatesPresented | Tls::InvalidCertificate(_)), _) => (
            "no valid client certificate",
            "only nodes with a certificate of the cluster's authority may connect",
        ),
        (Some(_), _) => ("invalid message", "the client does not follow the TLS protocol"),
        (None, io::ErrorKind::TimedOut) => {
            ("timeout", "the client did not answer within `listen.handshake_timeout`")
        }
        (None, _) => ("closed by the client", "it may not trust the certificate"),
    }
}

/// The negotiated version and cipher suite, in OpenSSL's and CloudFront's names.
pub(super) fn cipher(stream: &TlsStream<TcpStream>) -> Option<Cipher> {
    use rustls::{CipherSuite as Suite, HandshakeKind, ProtocolVersion as Version};
    let session = stream.get_ref().1;
    let version = match session.protocol_version()? {
        Version::TLSv1_3 => "TLSv1.3",
        _ => "TLSv1.2",
    };
    let suite = match session.negotiated_cipher_suite()?.suite() {
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        _ => return None,
    };
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    Some(Cipher { version, suite, resumed })
}
