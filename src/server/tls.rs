//! TLS: certificates selected by server name, reloaded while serving.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    client::verify_server_name,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject},
    },
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use crate::behavior::SecurityPolicy;

/// The files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then its intermediates.
    pub certificate: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

/// The error if certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read `{}`: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
        /// The fix.
        advice: &'static str,
    },
    /// The key belongs to another certificate.
    #[error("the key `{}` does not match the certificate `{}`", key.display(), certificate.display())]
    OtherKey {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The type of the certificate or the key is not supported.
    #[error("certificate `{}` with key `{}` cannot be used: {reason}", certificate.display(), key.display())]
    Unusable {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// The reason.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

impl TlsError {
    /// Advice to the operator.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::File { advice, .. } => advice,
            Self::OtherKey { .. } => {
                "use the key that belongs to the certificate; for a matching pair, `openssl x509 -noout -pubkey -in CERTIFICATE` and `openssl pkey -pubout -in KEY` print the same public key"
            }
            Self::Unusable { .. } => {
                "use a certificate with an RSA key of 2,048 bits or more, or an ECDSA or Ed25519 key"
            }
            Self::Setup(_) => "report this as a bug: the configuration is not at fault",
        }
    }
}

/// TLS settings for a set of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProfile {
    /// Host names, `*.` and a host name, or `*`.
    pub hosts: Vec<String>,
    /// Versions and cipher suites.
    pub security: SecurityPolicy,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// The TLS settings in force.
#[derive(Debug)]
pub struct TlsSettings(ArcSwap<Selection>);

/// Settings by server name.
#[derive(Debug)]
struct Selection {
    by_host: HashMap<String, Selected>,
    /// For viewers that send no server name, or an unknown one.
    other: Selected,
}

/// The settings for one connection.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The configuration for rustls.
    pub config: Arc<ServerConfig>,
    /// The policy that the configuration fulfils.
    pub security: SecurityPolicy,
}

impl TlsSettings {
    /// Loads the certificates; the first serves viewers that send no server name, or an unknown one.
    ///
    /// # Errors
    /// When a file cannot be read, or its certificate cannot be used.
    pub fn load(
        files: &[CertificateFiles],
        profiles: &[TlsProfile],
    ) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(Selection::new(files, profiles)?))))
    }

    /// Reloads the certificates. On an error the old ones stay in force.
    ///
    /// # Errors
    /// As [`TlsSettings::load`].
    pub fn reload(
        &self,
        files: &[CertificateFiles],
        profiles: &[TlsProfile],
    ) -> Result<(), TlsError> {
        self.0.store(Arc::new(Selection::new(files, profiles)?));
        Ok(())
    }

    /// The settings for a viewer that sent `hello`.
    #[must_use]
    pub fn select(&self, hello: &ClientHello<'_>) -> Selected {
        let selection = self.0.load();
        let name = hello.server_name().map(str::to_ascii_lowercase).unwrap_or_default();
        let wildcards = name.match_indices('.').map(|(dot, _)| format!("*{}", &name[dot..]));
        let names = std::iter::once(name.clone()).chain(wildcards);
        let found = names.into_iter().find_map(|name| selection.by_host.get(&name));
        found.unwrap_or(&selection.other).clone()
    }
}

impl Selection {
    fn new(files: &[CertificateFiles], profiles: &[TlsProfile]) -> Result<Self, TlsError> {
        let provider = aws_lc_rs::default_provider();
        let keys: Result<Vec<_>, _> = files.iter().map(|files| read(files, &provider)).collect();
        let certificates = Arc::new(Certificates(keys?));
        let ticketer = aws_lc_rs::Ticketer::new()?;
        let mut made: Vec<((SecurityPolicy, bool), Selected)> = Vec::new();
        let mut by_host = HashMap::new();
        let strictest = profiles.iter().map(|p| p.security).max().unwrap_or_default();
        let other = TlsProfile { hosts: vec!["*".into()], security: strictest, http2: true };
        for TlsProfile { hosts, security, http2 } in [&other].into_iter().chain(profiles) {
            let kind = (*security, *http2);
            let selected = match made.iter().find(|(known, _)| *known == kind) {
                Some((_, selected)) => selected.clone(),
                None => {
                    let mut config = server_config(*security, Arc::clone(&certificates))?;
                    config.alpn_protocols = alpn(*http2);
                    config.ticketer = Arc::clone(&ticketer);
                    let selected = Selected { config: Arc::new(config), security: *security };
                    made.push((kind, selected.clone()));
                    selected
                }
            };
            by_host.extend(hosts.iter().map(|host| (host.clone(), selected.clone())));
        }
        let other = by_host.remove("*").ok_or(rustls::Error::General("no settings".into()))?;
        Ok(Self { by_host, other })
    }
}

fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let protocols = [&b"h2"[..], b"http/1.1"];
    protocols[usize::from(!http2)..].iter().map(|protocol| protocol.to_vec()).collect()
}

fn server_config(
    security: SecurityPolicy,
    certificates: Arc<Certificates>,
) -> Result<ServerConfig, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| fulfils(security, suite));
    let versions: &[&SupportedProtocolVersion] = match security {
        SecurityPolicy::Tls13Of2025 => &[&TLS13],
        SecurityPolicy::Tls12Of2021 | SecurityPolicy::Tls12Of2025 => &[&TLS12, &TLS13],
    };
    Ok(ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(certificates))
}

fn fulfils(security: SecurityPolicy, suite: &SupportedCipherSuite) -> bool {
    let is_chacha = format!("{:?}", suite.suite()).contains("CHACHA20");
    match security {
        SecurityPolicy::Tls12Of2021 => true,
        SecurityPolicy::Tls12Of2025 => !is_chacha || suite.tls13().is_some(),
        SecurityPolicy::Tls13Of2025 => !is_chacha && suite.tls13().is_some(),
    }
}

fn read(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let refuse = |path: &PathBuf, error: &pem::Error, item| {
        let (reason, advice) = pem_words(error, item);
        TlsError::File { path: path.clone(), reason, advice }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| refuse(&files.certificate, &error, "certificate"))?;
    if chain.is_empty() {
        return Err(refuse(&files.certificate, &pem::Error::NoItemsFound, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| refuse(&files.key, &error, "private key"))?;
    let unusable = |error| {
        let (certificate, key) = (files.certificate.clone(), files.key.clone());
        match error {
            rustls::Error::InconsistentKeys(_) => TlsError::OtherKey { certificate, key },
            error => TlsError::Unusable { certificate, key, reason: error.to_string() },
        }
    };
    let key = CertifiedKey::from_der(chain, key, provider).map_err(unusable)?;
    Ok(Arc::new(key))
}

/// Puts an error of the PEM parser into words, and says what to do about it. The parser's own text lists bytes as
/// numbers.
fn pem_words(error: &pem::Error, item: &str) -> (String, &'static str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let advice = match error {
        pem::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => "correct the path",
        pem::Error::Io(_) => {
            "allow the user that runs Forebay to read the file and to enter its directory"
        }
        pem::Error::NoItemsFound => {
            "use a PEM file; check that certificate and key are not swapped, and that the key is not encrypted (`openssl pkey -in KEY -out NEW` removes a passphrase)"
        }
        _ => "use a complete PEM file",
    };
    let reason = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("the file has no PEM {item}"),
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("the PEM text is cut off: `-----END {}-----` is missing", text(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("`{}` does not begin a PEM section", text(line))
        }
        pem::Error::Base64Decode(_) => format!("the PEM {item} is not valid base64"),
        error => error.to_string(),
    };
    (reason, advice)
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
