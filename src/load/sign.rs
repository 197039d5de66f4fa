//! Signed URLs, as CloudFront's customers create them
//! (Amazon CloudFront Developer Guide, "Create a signed URL using a canned policy").

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use http::uri::PathAndQuery;
use rustls::pki_types::{
    PrivateKeyDer,
    pem::{self, PemObject},
};

use crate::{access::signed, base::clock::Clock};

/// The error for a key that cannot sign.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign with `{}`: {reason}", path.display())]
pub struct SignerError {
    /// The key file.
    pub path: PathBuf,
    /// The problem with the key.
    pub reason: String,
}

enum Key {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// Signs URLs with a private key.
pub struct Signer {
    key: Key,
    key_pair_id: String,
    /// Seconds since the Unix epoch.
    expires: u64,
}

fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.bytes().all(is_plain)
}

impl Signer {
    /// A signer with the key in a PEM file, known to the server as `key_pair_id`.
    ///
    /// # Errors
    /// When the file cannot be read or holds no RSA or P-256 key, or a URL cannot contain the id.
    pub fn open(path: &Path, key_pair_id: &str, valid: Duration) -> Result<Self, SignerError> {
        let refuse = |reason: String| SignerError { path: path.to_owned(), reason };
        if !is_id(key_pair_id) {
            return Err(refuse(format!(
                "`{key_pair_id}` is no key pair id: letters, digits, `-`, `_` and `.`"
            )));
        }
        let key = PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                refuse("it holds no private key, or one with a password".into())
            }
            error => refuse(error.to_string()),
        })?;
        let der = key.secret_der();
        let rsa = match &key {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(der),
            _ => RsaKeyPair::from_pkcs8(der),
        };
        let ecdsa = || {
            let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
            match &key {
                PrivateKeyDer::Sec1(_) => EcdsaKeyPair::from_private_key_der(algorithm, der),
                _ => EcdsaKeyPair::from_pkcs8(algorithm, der),
            }
        };
        let key = rsa.map(Key::Rsa).or_else(|_| ecdsa().map(Key::Ecdsa));
        let key = key.map_err(|_| {
            refuse("it is neither an RSA key of 2048 to 8192 bits nor an ECDSA P-256 key".into())
        })?;
        let expires = (Clock::system().now() + valid).as_secs();
        Ok(Self { key, key_pair_id: key_pair_id.to_owned(), expires })
    }

    /// The signed form of a path of `server`.
    pub(super) fn sign(&self, server: &str, path: &PathAndQuery) -> PathAndQuery {
        let query = self.query(&format!("{server}{path}"));
        let mark = if path.query().is_some() { '&' } else { '?' };
        // Both halves contain only characters that a URL allows.
        format!("{path}{mark}{query}").parse().unwrap_or_else(|_| path.clone())
    }

    /// The query string that signs `url`; it follows the URL's own.
    fn query(&self, url: &str) -> String {
        let Self { key_pair_id, expires, .. } = self;
        let policy = signed::canned_policy(url, *expires);
        let signature = signed::encode(&self.signature(policy.as_bytes()));
        format!(
            "Expires={expires}&Signature={signature}&Key-Pair-Id={key_pair_id}&Hash-Algorithm=SHA256"
        )
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                // Signing fails only if the buffer has another length.
                let _ = key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signature
            }
            Key::Ecdsa(key) => {
                let signature = key.sign(&random, message);
                signature.map(|signature| signature.as_ref().to_vec()).unwrap_or_default()
            }
        }
    }
}
