//! Certificates that an authority has issued to this process.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

/// The newest issued certificate of each host.
#[derive(Debug, Default)]
pub struct IssuedCertificates(ArcSwap<HashMap<String, Arc<CertifiedKey>>>);

impl IssuedCertificates {
    /// The certificate of a host.
    pub(crate) fn get(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        self.0.load().get(host).cloned()
    }

    /// The certificate for viewers that send no server name, or an unknown one.
    pub(crate) fn any(&self) -> Option<Arc<CertifiedKey>> {
        let all = self.0.load();
        all.iter().min_by_key(|(host, _)| *host).map(|(_, key)| Arc::clone(key))
    }

    /// Replaces all certificates.
    pub(crate) fn set(&self, certificates: HashMap<String, Arc<CertifiedKey>>) {
        self.0.store(Arc::new(certificates));
    }
}
