//! The files of a certificate and its key.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    client::verify_server_name,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject},
    },
    server::ParsedCertificate,
    sign::CertifiedKey,
};

use x509_parser::{certificate::X509Certificate, der_parser::parse_der, nom, prelude::FromDer};

use super::error::TlsError;

/// The files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then its intermediates.
    pub certificate: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file cannot be read, or the certificate cannot be used with the key.
    pub(crate) fn read(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = certificates(&self.certificate)?;
        let is_encrypted = |text: String| text.contains("ENCRYPTED");
        if std::fs::read_to_string(&self.key).is_ok_and(is_encrypted) {
            let reason = "the private key is encrypted".to_owned();
            let advice = "remove its passphrase: `openssl pkey -in KEY -out NEW`";
            return Err(TlsError::File { path: self.key.clone(), reason, advice });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| refuse(&self.key, &error, "private key"))?;
        whole(&parse_der(key.secret_der()), &self.key, "the private key")?;
        let unusable = |error| {
            let (certificate, key) = (self.certificate.clone(), self.key.clone());
            match error {
                rustls::Error::InconsistentKeys(_) => TlsError::OtherKey { certificate, key },
                error => TlsError::Unusable { certificate, key, reason: error.to_string() },
            }
        };
        let key = CertifiedKey::from_der(chain, key, provider).map_err(unusable)?;
        Ok(Arc::new(key))
    }
}

/// Whether a certificate is for a host.
pub(crate) fn covers(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let certificate = ParsedCertificate::try_from(certificate).ok();
    let host = ServerName::try_from(host).ok();
    let found = certificate.zip(host);
    found.is_some_and(|(certificate, host)| verify_server_name(&certificate, &host).is_ok())
}

/// The certificates in a PEM file; there is at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| refuse(path, &error, "certificate"))?;
    if found.is_empty() {
        return Err(refuse(path, &pem::Error::NoItemsFound, "certificate"));
    }
    for (number, certificate) in (1..).zip(&found) {
        let name = format!("certificate {number} of {}", found.len());
        whole(&parse_der(certificate), path, &name)?;
        whole(&X509Certificate::from_der(certificate), path, &name)?;
    }
    Ok(found)
}

/// Fails if the `parsed` DER in a file is damaged.
fn whole<T, E>(
    parsed: &Result<(&[u8], T), nom::Err<E>>,
    path: &Path,
    name: &str,
) -> Result<(), TlsError> {
    let reason = match parsed {
        Ok(([], _)) => return Ok(()),
        Ok(_) => format!("{name} is followed by other bytes"),
        Err(nom::Err::Incomplete(_)) => format!("{name} ends in the middle"),
        Err(_) => format!("{name} is damaged"),
    };
    Err(TlsError::File { path: path.to_owned(), reason, advice: "copy the whole file again" })
}

fn refuse(path: &Path, error: &pem::Error, item: &str) -> TlsError {
    let (reason, advice) = pem_words(error, item);
    TlsError::File { path: path.to_owned(), reason, advice }
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
