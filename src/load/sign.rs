//! Signed URLs, as CloudFront's customers make them
//! (Amazon CloudFront Developer Guide, "Create a signed URL using a canned policy").

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

use crate::{clock::Clock, signed};

/// Why a key cannot sign.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign with `{}`: {reason}", path.display())]
pub struct SignerError {
    /// The key's file.
    pub path: PathBuf,
    /// What is wrong with it.
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

impl Signer {
    /// A signer with the key in a PEM file, known to the server as `key_pair_id`.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no RSA or P-256 key.
    pub fn open(path: &Path, key_pair_id: &str, valid: Duration) -> Result<Self, SignerError> {
        let refuse = |reason: String| SignerError { path: path.to_owned(), reason };
        let key = PrivateKeyDer::from_pem_file(path).map_err(|error| refuse(error.to_string()))?;
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
        let key =
            key.map_err(|_| refuse("it is neither an RSA key nor an ECDSA P-256 key".into()))?;
        let expires = (Clock::system().now() + valid).as_secs();
        Ok(Self { key, key_pair_id: key_pair_id.to_owned(), expires })
    }

    /// The query string that makes `url` a signed one; it goes behind the URL's own.
    #[must_use]
    pub fn query(&self, url: &str) -> String {
        let Self { key_pair_id, expires, .. } = self;
        let policy = signed::canned_policy(url, *expires);
        let signature = signed::encode(&self.sign(policy.as_bytes()));
        format!(
            "Expires={expires}&Signature={signature}&Key-Pair-Id={key_pair_id}&Hash-Algorithm=SHA256"
        )
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                // It fails on a buffer of another length only.
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
