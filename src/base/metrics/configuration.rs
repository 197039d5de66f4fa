//! The age of the configuration, and when its certificates expire.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::base::clock::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    certificate: String,
}

/// Metrics of the configuration in effect.
#[derive(Debug, Default)]
pub(crate) struct ConfigurationMetrics {
    last_reload_successful: Gauge,
    last_reload_success: Gauge,
    certificate_expiry: Family<CertificateLabel, Gauge>,
    staging: Gauge,
}

impl ConfigurationMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "config_last_reload_successful",
            "Whether the last reload of the configuration, or the start, succeeded",
            self.last_reload_successful.clone(),
        );
        registry.register_with_unit(
            "config_last_reload_success_timestamp",
            "When the configuration in effect was loaded, since 1970",
            Unit::Seconds,
            self.last_reload_success.clone(),
        );
        registry.register(
            "staging_active",
            "Whether a staging configuration serves a part of the requests",
            self.staging.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When a certificate expires, since 1970",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
    }

    /// Records that the configuration was loaded at this time, or that loading it failed.
    pub(crate) fn reloaded(&self, at: Option<Timestamp>) {
        self.last_reload_successful.set(i64::from(at.is_some()));
        if let Some(at) = at {
            self.last_reload_success.set(seconds(at));
        }
    }

    /// Records whether a staging configuration serves requests.
    pub(crate) fn set_staging(&self, is_active: bool) {
        self.staging.set(i64::from(is_active));
    }

    /// Replaces the certificates and the times when they expire.
    pub(crate) fn set_certificates(&self, ends: &[(String, Timestamp)]) {
        self.certificate_expiry.clear();
        for (certificate, end) in ends {
            let label = CertificateLabel { certificate: certificate.clone() };
            self.certificate_expiry.get_or_create(&label).set(seconds(*end));
        }
    }
}

fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}
