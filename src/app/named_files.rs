//! The files that a configuration names.

use std::{convert::Infallible, io, path::Path, sync::Arc};

use http::HeaderMap;
use rustls::crypto::aws_lc_rs;

use super::{Error, files_of_rules::FilesOfRules};
use crate::{
    access::{passwords::Users, restrict::Geography},
    acme::check_external_key,
    base::clock::Clock,
    behavior::{RedirectList, RuleFiles},
    cache::key::PathForm,
    cluster::{ClusterOptions, Seal},
    config::Config,
    control::Callers,
    outbound::{TrustError, trusted_roots},
    tls::{CertificateFiles, MutualTls},
    traces::TraceOptions,
};

/// Reads all files that a configuration names, as a start does. Returns the errors of those that cannot be used.
#[must_use]
pub fn check_files(config: &Config, clock: &Clock) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut note = |read: Result<(), Error>| errors.extend(read.err());
    let provider = aws_lc_rs::default_provider();
    for files in &config.listen.certificates {
        note(files.read(&provider).map(drop).map_err(Error::from));
    }
    note(Callers::load(&config.admin_options.callers).map(drop).map_err(Error::from));
    if let Some(databases) = &config.geography {
        note(Geography::open(databases).map(drop).map_err(Error::from));
    }
    for origin in config.all_distributions().flat_map(|distribution| &distribution.origins) {
        // Origins without TLS do not use it.
        if let Some(file) = origin.ca_file.as_ref().filter(|_| origin.address.tls) {
            let refuse = |source| Error::Trust { origin: origin.id.clone(), source };
            note(trusted_roots(Some(file)).map(drop).map_err(refuse));
        }
    }
    let mut files = CheckedFiles { files: FilesOfRules::default(), note: &mut note };
    for distribution in config.all_distributions() {
        let Ok(_) = distribution.settings.behaviors.with_files(&mut files);
    }
    if let Some(disk) = &config.disk {
        note(disk.keys().map(drop).map_err(Error::from));
    }
    if let Some(acme) = &config.acme {
        note(check_external_key(acme).map_err(Error::from));
        note(authorities("listen.acme.ca_file", acme.ca_file.as_deref()));
    }
    if let Some(traces) = &config.traces {
        if traces.address.tls {
            let roots = trusted_roots(traces.ca_file.as_deref());
            note(roots.map(drop).map_err(Error::Collector));
        }
        note(collector_headers(traces).map(drop));
    }
    if let Some(cluster) = &config.cluster {
        of_cluster(cluster, clock, note);
    }
    errors
}

/// Reads all files that rules name, and goes on after an error.
struct CheckedFiles<'a> {
    files: FilesOfRules,
    note: &'a mut dyn FnMut(Result<(), Error>),
}

impl RuleFiles for CheckedFiles<'_> {
    type Error = Infallible;

    fn redirects(&mut self, file: &Path, form: PathForm) -> Result<Arc<RedirectList>, Infallible> {
        (self.note)(self.files.redirects(file, form).map(drop));
        Ok(Arc::default())
    }

    fn users(&mut self, file: &Path) -> Result<Arc<Users>, Infallible> {
        (self.note)(self.files.users(file).map(drop));
        Ok(Arc::default())
    }
}

/// The header fields for a collector.
pub(super) fn collector_headers(traces: &TraceOptions) -> Result<HeaderMap, Error> {
    traces.headers().map_err(|source| {
        let path = traces.headers_file.clone().unwrap_or_default();
        Error::File { key: "traces.headers_file", path, source }
    })
}

/// Reads certificates of authorities.
fn authorities(key: &'static str, path: Option<&Path>) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let refuse = |error| {
        let reason = match error {
            TrustError::CaFile { reason, .. } => reason,
            TrustError::NoNativeRoots => "it has no certificate".to_owned(),
        };
        Error::File { key, path: path.to_owned(), source: io::Error::other(reason) }
    };
    trusted_roots(Some(path)).map(drop).map_err(refuse)
}

fn of_cluster(options: &ClusterOptions, clock: &Clock, mut note: impl FnMut(Result<(), Error>)) {
    note(Seal::read(options.key_file.as_deref()).map(drop).map_err(Error::from));
    if let Some(peers) = &options.peers {
        let read = MutualTls::load(&peers.files, &options.node(), clock.now());
        note(read.map(drop).map_err(Error::from));
    }
    let nats = &options.nats;
    note(authorities("cluster.nats.ca_file", nats.ca.as_deref()));
    if let Some((certificate, key)) = nats.certificate.clone() {
        let read = CertificateFiles { certificate, key }.read(&aws_lc_rs::default_provider());
        note(read.map(drop).map_err(Error::from));
    }
    let password = nats.user.as_ref().map(|(_, file)| ("cluster.nats.password_file", file));
    let credentials = nats.credentials.as_ref().map(|file| ("cluster.nats.credentials_file", file));
    for (key, path) in password.into_iter().chain(credentials) {
        let refuse = |source| Error::File { key, path: path.clone(), source };
        note(std::fs::read(path).map(drop).map_err(refuse));
    }
}
