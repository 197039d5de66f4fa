//! The certificates by which the nodes of a cluster recognize each other.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::base::clock::Timestamp;

/// How many years the certificates of nodes are valid, and that of the authority.
const NODE_YEARS: i64 = 10;
const AUTHORITY_YEARS: i64 = 30;

/// A certificate and its private key, in PEM.
#[derive(Clone, Debug)]
pub(crate) struct CertificatePair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl CertificatePair {
    /// An authority that signs the certificates of nodes.
    ///
    /// # Errors
    /// If no key can be made.
    pub(crate) fn of_authority(now: Timestamp) -> Result<Self, Error> {
        let mut params = params(Vec::new(), "Forebay cluster", now, AUTHORITY_YEARS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// A certificate for a node, signed by this authority.
    ///
    /// # Errors
    /// If the authority's certificate or key cannot be read.
    pub(crate) fn issue(&self, node: &str, now: Timestamp) -> Result<Self, Error> {
        let authority = KeyPair::from_pem(&self.key)?;
        let authority = Issuer::from_ca_cert_pem(&self.certificate, authority)?;
        let mut params = params(vec![node.to_owned()], node, now, NODE_YEARS)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A node is a client of its peers, too.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(
    names: Vec<String>,
    common_name: &str,
    now: Timestamp,
    years: i64,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Clocks of nodes differ.
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let now = OffsetDateTime::from_unix_timestamp(now).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(365 * years);
    Ok(params)
}
