//! The time in which a certificate is valid.

use rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::base::clock::Timestamp;

/// The time in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) begin: Timestamp,
    pub(crate) end: Timestamp,
}

impl Lifetime {
    /// The lifetime of a certificate, unless it is damaged.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let at = |time: i64| Timestamp::from_secs(u64::try_from(time).unwrap_or(0));
        let validity = parsed.validity();
        let (begin, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Some(Self { begin: at(begin), end: at(end) })
    }
}
