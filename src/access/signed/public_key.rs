//! Public keys of signers, in CloudFront's upload format: RSA and ECDSA P-256 in PEM.

use aws_lc_rs::{
    digest,
    signature::{
        ECDSA_P256_SHA256_ASN1, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        RSA_PKCS1_2048_8192_SHA256,
    },
};
use p256::{
    ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier as _},
    pkcs8::{
        DecodePublicKey as _, SubjectPublicKeyInfoRef,
        der::{
            Decode as _, Reader as _, SliceReader,
            asn1::{AnyRef, UintRef},
        },
    },
};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

/// The hash function of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

/// A public key that verifies signatures.
#[derive(Debug)]
pub struct PublicKey(Algorithm);

#[derive(Debug)]
enum Algorithm {
    /// RSASSA-PKCS1-v1_5, for each hash.
    Rsa { sha1: Box<ParsedPublicKey>, sha256: Box<ParsedPublicKey> },
    /// ECDSA P-256 with DER signatures, for each hash. aws-lc does not support ECDSA over SHA-1.
    Ecdsa { sha1: Box<VerifyingKey>, sha256: Box<ParsedPublicKey> },
}

/// The reason for rejecting a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not PEM, or not a public key.
    #[error("this is not a public key in PEM (`-----BEGIN PUBLIC KEY-----` …)")]
    NotPem,
    /// PEM in lines that are indented.
    #[error("the lines of this PEM text are indented")]
    Indented,
    /// An RSA key without its algorithm.
    #[error("this is an RSA key in PKCS #1 (`-----BEGIN RSA PUBLIC KEY-----`)")]
    Pkcs1,
    /// Something else than PEM, such as the name of a file.
    #[error("this is not PEM; paste the content of the file, not its name")]
    NoText,
    /// The text is a private key.
    #[error("this is a private key; Forebay needs only the public one")]
    Private,
    /// The key has an unsupported type or size.
    #[error("this is neither an RSA key of 2,048 bits or more nor an ECDSA P-256 key")]
    Unsupported,
}

impl KeyError {
    /// Why a text is not a public key in PEM.
    fn of_text(text: &str) -> Self {
        let is_indented = |line: &str| {
            line.trim_start().starts_with("-----BEGIN") && line.starts_with([' ', '\t'])
        };
        if text.contains("-----BEGIN RSA PUBLIC KEY-----") {
            Self::Pkcs1
        } else if text.lines().any(is_indented) {
            Self::Indented
        } else if !text.contains("-----") {
            Self::NoText
        } else {
            Self::NotPem
        }
    }
}

impl PublicKey {
    /// Parses a key in PEM.
    ///
    /// # Errors
    /// If it is not PEM, or CloudFront does not accept its type.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|_| KeyError::of_text(text))?;
        let parse = |algorithm| ParsedPublicKey::new(algorithm, &der).map(Box::new).ok();
        if let Some(sha256) = parse(&RSA_PKCS1_2048_8192_SHA256) {
            let sha1 = parse(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY);
            let sha1 = sha1.ok_or(KeyError::Unsupported)?;
            // Parsing does not check the size.
            let large = modulus_bits(&der).is_some_and(|bits| bits >= 2048);
            return large
                .then_some(Self(Algorithm::Rsa { sha1, sha256 }))
                .ok_or(KeyError::Unsupported);
        }
        let sha1 = VerifyingKey::from_public_key_der(&der).map(Box::new);
        let (Ok(sha1), Some(sha256)) = (sha1, parse(&ECDSA_P256_SHA256_ASN1)) else {
            return Err(KeyError::Unsupported);
        };
        Ok(Self(Algorithm::Ecdsa { sha1, sha256 }))
    }

    /// Whether `signature` is valid for `message` with this key.
    pub(super) fn verifies(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        match (&self.0, hash) {
            (Algorithm::Rsa { sha1: key, .. }, Hash::Sha1)
            | (
                Algorithm::Rsa { sha256: key, .. } | Algorithm::Ecdsa { sha256: key, .. },
                Hash::Sha256,
            ) => key.verify_sig(message, signature).is_ok(),
            (Algorithm::Ecdsa { sha1: key, .. }, Hash::Sha1) => {
                let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, message);
                let signature = DerSignature::from_bytes(signature);
                signature
                    .is_ok_and(|signature| key.verify_prehash(digest.as_ref(), &signature).is_ok())
            }
        }
    }
}

/// The length of an RSA key's modulus (RFC 8017, appendix A.1.1).
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let mut reader = SliceReader::new(info.subject_public_key.as_bytes()?).ok()?;
    let modulus = reader.sequence(|key| {
        let modulus: UintRef<'_> = key.decode()?;
        key.decode::<AnyRef<'_>>()?;
        Ok(modulus)
    });
    let bytes = modulus.ok()?.as_bytes().to_owned();
    Some(bytes.len() * 8 - bytes.first()?.leading_zeros() as usize)
}
