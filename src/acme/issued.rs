//! An issued certificate.

use std::sync::Arc;

use instant_acme::CertificateIdentifier;
use rustls::sign::CertifiedKey;

use crate::{base::clock::Timestamp, tls::Lifetime};

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) lifetime: Lifetime,
    /// The name by which the authority knows it (RFC 9773 §4.1).
    pub(super) id: Option<CertificateIdentifier<'static>>,
}

impl Issued {
    pub(super) fn new(key: Arc<CertifiedKey>) -> Self {
        let leaf = key.cert.first();
        // One that cannot be read is renewed at once.
        let unknown = Lifetime { begin: Timestamp::from_secs(0), end: Timestamp::from_secs(0) };
        let lifetime = leaf.and_then(Lifetime::of).unwrap_or(unknown);
        let id = leaf.and_then(|leaf| CertificateIdentifier::try_from(leaf).ok());
        let id = id.map(CertificateIdentifier::into_owned);
        Self { key, lifetime, id }
    }
}
