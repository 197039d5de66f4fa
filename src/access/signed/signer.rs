//! Makes signed URLs and signed cookies, as CloudFront's customers do.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use ipnet::IpNet;
use rustls::pki_types::{
    PrivateKeyDer,
    pem::{self, PemObject},
};
use serde_json::{Value, json};

use super::{
    canned_policy, encode,
    parameters::{COOKIE_NAMES, QUERY_NAMES},
};

/// The reason why a key cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignerError {
    /// A URL cannot contain the ID.
    #[error("`{0}` is not a valid key pair id: use letters, digits, `-`, `_` and `.`")]
    KeyPairId(String),
    /// The text has no private key.
    #[error("it has no private key in PEM, or one with a passphrase")]
    NoKey,
    /// The PEM text is malformed.
    #[error("it is not PEM: {0}")]
    NotPem(String),
    /// The key has another type or size.
    #[error("it is neither an RSA key of 2,048 to 8,192 bits nor an ECDSA P-256 key")]
    Unsupported,
}

enum PrivateKey {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
}

/// A private key and its ID.
pub(crate) struct Signer {
    key: PrivateKey,
    key_pair_id: String,
}

/// The parameters that sign a request, by position in [`QUERY_NAMES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedParameters(Vec<(usize, String)>);

impl SignedParameters {
    /// A URL or path with these parameters in its query string.
    #[must_use]
    pub(crate) fn append_to(&self, url: &str) -> String {
        let mark = if url.contains('?') { '&' } else { '?' };
        let pairs = self.0.iter().map(|(at, value)| format!("{}={value}", QUERY_NAMES[*at]));
        format!("{url}{mark}{}", pairs.collect::<Vec<_>>().join("&"))
    }

    /// As the value of a `Cookie` field.
    #[must_use]
    pub(crate) fn cookies(&self) -> String {
        let pairs = self.0.iter().map(|(at, value)| format!("{}={value}", COOKIE_NAMES[*at]));
        pairs.collect::<Vec<_>>().join("; ")
    }
}

/// A custom policy for `resource`, a URL that may have wildcards
/// (Amazon CloudFront Developer Guide, "Create a signed URL using a custom policy").
#[must_use]
pub(crate) fn custom_policy(resource: &str, expires: u64, network: Option<IpNet>) -> String {
    let mut condition = json!({ "DateLessThan": { "AWS:EpochTime": expires } });
    if let (Some(network), Value::Object(condition)) = (network, &mut condition) {
        condition.insert("IpAddress".into(), json!({ "AWS:SourceIp": network.to_string() }));
    }
    json!({ "Statement": [{ "Resource": resource, "Condition": condition }] }).to_string()
}

impl Signer {
    /// A signer with a private key in PEM, known to the server as `key_pair_id`.
    ///
    /// # Errors
    /// When the text has no RSA or P-256 key, or a URL cannot contain the ID.
    pub(crate) fn from_pem(text: &[u8], key_pair_id: &str) -> Result<Self, SignerError> {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if key_pair_id.is_empty() || !key_pair_id.bytes().all(is_plain) {
            return Err(SignerError::KeyPairId(key_pair_id.to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
            pem::Error::NoItemsFound => SignerError::NoKey,
            error => SignerError::NotPem(error.to_string()),
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
        let key = rsa.map(Box::new).map(PrivateKey::Rsa);
        let key = key.or_else(|_| ecdsa().map(PrivateKey::Ecdsa));
        let key = key.map_err(|_| SignerError::Unsupported)?;
        Ok(Self { key, key_pair_id: key_pair_id.to_owned() })
    }

    /// Signs one URL until `expires`, in seconds since the Unix epoch.
    #[must_use]
    pub(crate) fn canned(&self, url: &str, expires: u64) -> SignedParameters {
        let policy = canned_policy(url, expires);
        self.parameters((0, expires.to_string()), &policy)
    }

    /// Signs a custom policy.
    #[must_use]
    pub(crate) fn custom(&self, policy: &str) -> SignedParameters {
        self.parameters((1, encode(policy.as_bytes())), policy)
    }

    fn parameters(&self, terms: (usize, String), policy: &str) -> SignedParameters {
        let signature = encode(&self.signature(policy.as_bytes()));
        let id = self.key_pair_id.clone();
        SignedParameters(vec![terms, (2, signature), (3, id), (4, "SHA256".to_owned())])
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            PrivateKey::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                // Signing fails only if the buffer has another length.
                let _ = key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signature
            }
            PrivateKey::Ecdsa(key) => {
                let signature = key.sign(&random, message);
                signature.map(|signature| signature.as_ref().to_vec()).unwrap_or_default()
            }
        }
    }
}
