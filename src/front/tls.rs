//! TLS: certificates chosen by server name, reloaded while serving.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    client::verify_server_name,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then its intermediates.
    pub certificate: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read `{}`: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not fit together, or are of no kind that TLS knows.
    #[error("certificate `{}` cannot be used: {source}", path.display())]
    Unusable {
        /// The certificate.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// The TLS settings in force.
#[derive(Debug)]
pub struct TlsSettings(ArcSwap<ServerConfig>);

impl TlsSettings {
    /// Reads the certificates; the first serves viewers who name no host, or an unknown one.
    ///
    /// # Errors
    /// When a file cannot be read, or its certificate cannot be used.
    pub fn load(files: &[CertificateFiles]) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(ArcSwap::new(server_config(files)?))))
    }

    /// Reads the certificates anew. On an error the old ones stay in force.
    ///
    /// # Errors
    /// As [`TlsSettings::load`].
    pub fn reload(&self, files: &[CertificateFiles]) -> Result<(), TlsError> {
        self.0.store(server_config(files)?);
        Ok(())
    }

    /// The settings for a viewer that sent `hello`.
    #[must_use]
    pub fn select(&self, _hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

fn server_config(files: &[CertificateFiles]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let keys: Result<Vec<_>, _> = files.iter().map(|files| read(files, &provider)).collect();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Certificates(keys?)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

fn read(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let refuse = |path: &PathBuf, reason: String| TlsError::File { path: path.clone(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| refuse(&files.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(refuse(&files.certificate, "it holds no PEM certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| refuse(&files.key, error.to_string()))?;
    let unusable = |source| TlsError::Unusable { path: files.certificate.clone(), source };
    let key = CertifiedKey::from_der(chain, key, provider).map_err(unusable)?;
    Ok(Arc::new(key))
}

#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| {
            let certificate =
                key.cert.first().and_then(|der| ParsedCertificate::try_from(der).ok());
            certificate.zip(name.as_ref()).is_some_and(|(c, n)| verify_server_name(&c, n).is_ok())
        };
        self.0.iter().find(fits).or(self.0.first()).cloned()
    }
}
