//! TLS in which both sides prove that they are nodes of the same cluster.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, RootCertStore, ServerConfig,
    client::verify_server_name,
    crypto::aws_lc_rs,
    pki_types::{ServerName, UnixTime},
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use super::{
    certificate_files::{CertificateFiles, certificates},
    error::TlsError,
};
use crate::base::clock::Timestamp;

/// The protocol between nodes: HTTP/2.
const ALPN: &[u8] = b"h2";

/// The files by which a node and its peers recognize each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutualFiles {
    /// The node's certificate, whose name is the node's, and its key.
    pub own: CertificateFiles,
    /// The certificates of the authorities that sign the certificates of all nodes, in PEM.
    pub ca: PathBuf,
}

/// The settings for both sides of a connection between nodes.
#[derive(Clone, Debug)]
pub(crate) struct MutualTls {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

impl MutualTls {
    /// Reads the files of `node`. Warns if the certificate is not valid `now`: other nodes refuse it.
    ///
    /// # Errors
    /// If a file cannot be read, or other nodes would not accept the certificate.
    pub(crate) fn load(files: &MutualFiles, node: &str, now: Timestamp) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = files.own.read(&provider)?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.ca)? {
            roots.add(authority).map_err(|error| other_authority(files, &error))?;
        }
        let roots = Arc::new(roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let verifier = verifier.build().map_err(|error| other_authority(files, &error))?;
        check(files, &key, &*verifier, node, now)?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&key))));
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        let (mut client, mut server) = (client, server);
        client.alpn_protocols = vec![ALPN.to_vec()];
        server.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

/// Checks the own certificate as other nodes would.
fn check(
    files: &MutualFiles,
    key: &CertifiedKey,
    verifier: &dyn ClientCertVerifier,
    node: &str,
    now: Timestamp,
) -> Result<(), TlsError> {
    let [own, intermediates @ ..] = &key.cert[..] else { return Ok(()) };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()));
    match verifier.verify_client_cert(own, intermediates, now) {
        Ok(_) => {}
        Err(rustls::Error::InvalidCertificate(error)) if is_about_time(&error) => tracing::error!(
            certificate = %files.own.certificate.display(),
            %error,
            "other nodes refuse this node's certificate, so it fetches objects from the origin; make another one with `forebay cluster init --renew NODE`"
        ),
        Err(error) => return Err(other_authority(files, &error)),
    }
    let parsed = ParsedCertificate::try_from(own)?;
    let is_own =
        ServerName::try_from(node).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
    let certificate = files.own.certificate.clone();
    if is_own { Ok(()) } else { Err(TlsError::OtherNode { certificate, node: node.to_owned() }) }
}

/// Whether a certificate was or will be valid.
const fn is_about_time(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

fn other_authority(files: &MutualFiles, error: &impl ToString) -> TlsError {
    let (certificate, ca) = (files.own.certificate.clone(), files.ca.clone());
    TlsError::OtherAuthority { certificate, ca, reason: error.to_string() }
}
