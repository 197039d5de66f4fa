//! Errors of certificates and keys.

use std::path::PathBuf;

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
    /// Another authority signed the certificate, or it has expired.
    #[error("the certificate `{}` is not valid for the authority in `{}`: {reason}", certificate.display(), ca.display())]
    OtherAuthority {
        /// The certificate.
        certificate: PathBuf,
        /// The certificate of the authority.
        ca: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The certificate is for another node.
    #[error("the certificate `{}` is not for the node `{node}`", certificate.display())]
    OtherNode {
        /// The certificate.
        certificate: PathBuf,
        /// The node.
        node: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
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
            Self::OtherAuthority { .. } | Self::OtherNode { .. } => {
                "make certificates for all nodes with one authority: `forebay cluster init NODE…`"
            }
            Self::Setup(_) => "report this as a bug: the configuration is not at fault",
        }
    }
}
