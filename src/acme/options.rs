//! The configuration of automatic certificates.

use std::path::PathBuf;

/// Let's Encrypt's directory ("ACME Protocol Updates").
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Let's Encrypt's directory for tests ("Staging Environment").
pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// The configuration of automatic certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeOptions {
    /// The address that the authority may write to.
    pub email: Option<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// The certificates to trust for connections to the authority, instead of this machine's.
    pub ca_file: Option<PathBuf>,
    /// The id of an account at the authority, and the file with its HMAC key (RFC 8555 §7.3.4).
    pub external_account: Option<(String, PathBuf)>,
    /// The profile of certificates, if the authority has several.
    pub profile: Option<String>,
    /// The folder for the account and the certificates.
    pub folder: PathBuf,
    /// Whether there is a plain listener, where HTTP-01 can look.
    pub has_http: bool,
}
