//! What a configuration says about TLS for viewers.

use std::sync::Arc;

use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};

use crate::{
    base::{clock::Timestamp, metrics::Metrics},
    config::{Config, DistributionOptions},
    server::TlsProfile,
    tls::{CertificateFiles, Lifetime, TlsError},
};

/// The TLS settings of each distribution.
pub(super) fn profiles(config: &Config) -> Vec<TlsProfile> {
    let profile = |distribution: &DistributionOptions| TlsProfile {
        hosts: distribution.aliases.clone(),
        security: distribution.settings.security,
        http2: distribution.http2,
        http3: distribution.http3,
    };
    config.distributions.iter().map(profile).collect()
}

/// Reads the certificates for viewers.
pub(super) fn read_keys(config: &Config) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    let provider = aws_lc_rs::default_provider();
    config.listen.certificates.iter().map(|files| files.read(&provider)).collect()
}

/// Shows in the metrics when certificates expire.
pub(super) fn show(metrics: &Metrics, files: &[CertificateFiles], keys: &[Arc<CertifiedKey>]) {
    let end = |(files, key): (&CertificateFiles, &Arc<CertifiedKey>)| {
        let end = Lifetime::of(key.cert.first()?)?.end;
        Some((files.certificate.display().to_string(), end))
    };
    let ends: Vec<(String, Timestamp)> = files.iter().zip(keys).filter_map(end).collect();
    metrics.configuration.set_certificates(&ends);
}
