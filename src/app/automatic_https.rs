//! Certificates that Forebay obtains by itself.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use tokio::{sync::watch, task::JoinHandle};

use super::tls_options::read_keys;
use crate::{
    acme::Acme,
    base::{clock::Clock, metrics::Metrics},
    config::Config,
    tls::{Challenges, IssuedCertificates, covers},
};

/// The state that listeners share with the task that obtains certificates.
#[derive(Clone, Default)]
pub(super) struct AutomaticHttps {
    pub(super) issued: Arc<IssuedCertificates>,
    pub(super) challenges: Arc<Challenges>,
    /// The hosts that need a certificate; `None` if no certificates are obtained.
    hosts: Option<watch::Sender<Vec<String>>>,
}

/// The task that obtains certificates, before it runs.
pub(super) struct Task {
    acme: Acme,
    hosts: watch::Receiver<Vec<String>>,
}

impl AutomaticHttps {
    /// Reads the account and the certificates of the last process.
    pub(super) fn open(
        config: &Config,
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<(Self, Option<Task>), super::Error> {
        let mut automatic = Self::default();
        let Some(options) = config.acme.clone() else { return Ok((automatic, None)) };
        let hosts = uncovered(config, &read_keys(config)?);
        let (issued, challenges) = (automatic.issued.clone(), automatic.challenges.clone());
        let mut acme = Acme::open(options, issued, challenges, clock.clone(), metrics.acme())?;
        acme.set_hosts(&hosts);
        let (sender, hosts) = watch::channel(hosts);
        automatic.hosts = Some(sender);
        Ok((automatic, Some(Task { acme, hosts })))
    }

    /// Whether certificates are obtained.
    pub(super) const fn is_on(&self) -> bool {
        self.hosts.is_some()
    }

    /// Obtains certificates for the hosts of this configuration that `keys` do not cover.
    pub(super) fn set_hosts(&self, config: &Config, keys: &[Arc<CertifiedKey>]) {
        if let Some(hosts) = &self.hosts {
            hosts.send_replace(uncovered(config, keys));
        }
    }
}

impl Task {
    /// Obtains and renews certificates while there are listeners.
    pub(super) fn spawn(self) -> JoinHandle<()> {
        tokio::spawn(self.acme.run(self.hosts))
    }
}

/// The hosts that no certificate from a file covers.
fn uncovered(config: &Config, keys: &[Arc<CertifiedKey>]) -> Vec<String> {
    let leaves: Vec<_> = keys.iter().filter_map(|key| key.cert.first()).collect();
    let is_covered = |host: &String| leaves.iter().any(|leaf| covers(leaf, host));
    config.hosts().into_iter().filter(|host| !is_covered(host)).collect()
}
