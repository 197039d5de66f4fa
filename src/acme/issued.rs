//! An issued certificate.

use std::sync::Arc;

use instant_acme::CertificateIdentifier;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};

use super::AcmeError;
use crate::{
    base::clock::Timestamp,
    tls::{Lifetime, covers},
};

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) lifetime: Lifetime,
    /// The name by which the authority knows it (RFC 9773 §4.1).
    pub(super) id: Option<CertificateIdentifier<'static>>,
}

impl Issued {
    /// Parses the key and the certificates of `host` in PEM.
    pub(super) fn parse(host: &str, pem: &[u8]) -> Result<Self, AcmeError> {
        let unusable = |reason: String| AcmeError::Unusable(reason);
        let chain: Result<Vec<CertificateDer<'static>>, pem::Error> =
            CertificateDer::pem_slice_iter(pem).collect();
        let chain = chain.map_err(|error| unusable(error.to_string()))?;
        let key =
            PrivateKeyDer::from_pem_slice(pem).map_err(|error| unusable(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| unusable("the chain is empty".into()))?;
        let lifetime = Lifetime::of(leaf).ok_or_else(|| unusable("it is damaged".into()))?;
        let id = CertificateIdentifier::try_from(leaf).ok().map(CertificateIdentifier::into_owned);
        if !covers(leaf, host) {
            return Err(unusable(format!("it is not for {host}")));
        }
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let key = Arc::new(key.map_err(|error| unusable(error.to_string()))?);
        Ok(Self { key, lifetime, id })
    }

    /// Whether it can be served.
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        now < self.lifetime.end
    }
}
