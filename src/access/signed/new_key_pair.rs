//! New keys for signers.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A new key pair in PEM: PKCS #8 and SubjectPublicKeyInfo, as `openssl` writes them.
pub(crate) struct NewKeyPair {
    /// The private key.
    pub(crate) private: String,
    /// The public key.
    pub(crate) public: String,
}

/// The kind of a new key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// RSA of 2,048 bits, which all signers support.
    Rsa,
    /// ECDSA P-256, which is faster.
    Ecdsa,
}

impl NewKeyPair {
    /// Generates a key pair. `None` if the system has no randomness.
    #[must_use]
    pub(crate) fn generate(kind: KeyKind) -> Option<Self> {
        let (private, public) = match kind {
            KeyKind::Rsa => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
                let private: Pkcs8V1Der<'_> = pair.as_der().ok()?;
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
                (private.as_ref().to_vec(), public.as_ref().to_vec())
            }
            KeyKind::Ecdsa => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).ok()?;
                let private = pair.to_pkcs8v1().ok()?;
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
                (private.as_ref().to_vec(), public.as_ref().to_vec())
            }
        };
        Some(Self { private: pem("PRIVATE KEY", &private), public: pem("PUBLIC KEY", &public) })
    }
}

/// DER in PEM (RFC 7468): base64 in lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::signed::{PublicKey, Signer};

    #[test]
    fn both_halves_can_be_read_again() {
        for kind in [KeyKind::Rsa, KeyKind::Ecdsa] {
            let pair = NewKeyPair::generate(kind).expect("a pair");
            assert!(Signer::from_pem(pair.private.as_bytes(), "K1").is_ok(), "{kind:?}");
            assert!(PublicKey::from_pem(&pair.public).is_ok(), "{kind:?}");
            assert!(pair.public.lines().all(|line| line.len() <= 64), "{}", pair.public);
        }
    }
}
