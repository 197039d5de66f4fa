//! Checks that certificates do not expire soon, and that each host has one.

use std::{net::ToSocketAddrs, path::Path};

use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::Checks;
use crate::{
    acme::{AcmeOptions, stored_certificate},
    base::clock::Clock,
    config::{Config, HTTPS_ADVICE},
    tls::{CertificateFiles, Lifetime, covers},
};

/// A certificate should be renewed when less than this part of its lifetime is left, and must be when less than
/// `LATE` is. Let's Encrypt renews at a third ("Integration Guide").
const DUE: u64 = 3;
const LATE: u64 = 10;

const RENEW: &str = "renew it; Forebay reads the new files within ten seconds";
const RENEWED: &str = "Forebay renews it by itself; if it could not, its log says why";

pub(super) fn examine(config: &Config, clock: &Clock) -> Checks {
    let mut checks = Checks::of("certificates");
    if let Some(peers) = config.cluster.as_ref().and_then(|cluster| cluster.peers.as_ref()) {
        for path in [&peers.files.own.certificate, &peers.files.ca] {
            if let Some(leaf) = leaf(path) {
                of_file(&mut checks, path, &leaf, clock);
            }
        }
    }
    let files = &config.listen.certificates;
    if files.is_empty() && config.acme.is_none() {
        for problem in config.missing_https() {
            checks.advise(problem, HTTPS_ADVICE);
        }
        return checks;
    }
    let with_leaf =
        |files: &CertificateFiles| Some((files.certificate.clone(), leaf(&files.certificate)?));
    let leaves: Vec<_> = files.iter().filter_map(with_leaf).collect();
    for (file, leaf) in &leaves {
        of_file(&mut checks, file, leaf, clock);
    }
    let names = config.hosts();
    let hosts = config.distributions.iter().flat_map(|distribution| &distribution.aliases);
    for host in hosts.filter(|host| *host != "*") {
        let is_covered = leaves.iter().any(|(_, leaf)| is_for(leaf, host));
        match &config.acme {
            _ if is_covered => checks.good(format!("a certificate covers {host}")),
            Some(options) if names.contains(host) => of_acme(&mut checks, options, host, clock),
            _ => checks.bad(
                format!("no certificate covers {host}"),
                "add a certificate for this host to `listen.tls`; browsers reject the others",
            ),
        }
    }
    checks
}

fn is_for(leaf: &CertificateDer<'_>, host: &str) -> bool {
    // A certificate for `*.example.com` is valid for any name below it.
    covers(leaf, &host.replacen("*.", "any.", 1))
}

/// The first certificate in a file.
fn leaf(path: &Path) -> Option<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).ok()?.next()?.ok()
}

fn of_file(checks: &mut Checks, path: &Path, leaf: &CertificateDer<'_>, clock: &Clock) {
    if let Some(found) = Lifetime::of(leaf) {
        lifetime(checks, &path.display().to_string(), found, RENEW, clock);
    }
}

/// Checks a certificate that Forebay obtains by itself.
fn of_acme(checks: &mut Checks, options: &AcmeOptions, host: &str, clock: &Clock) {
    match stored_certificate(options, host) {
        Ok(Some(found)) => {
            return lifetime(checks, &format!("the certificate of {host}"), found, RENEWED, clock);
        }
        Ok(None) => {}
        Err(error) => return checks.bad(format!("{host}: {error}"), error.advice()),
    }
    let found = (host, 443).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    let addresses = found.unwrap_or_default();
    let addresses: Vec<String> =
        addresses.iter().map(|address| address.ip().to_canonical().to_string()).collect();
    let names = if addresses.is_empty() {
        "and this name has no address".to_owned()
    } else {
        format!("and this name has the address {}", addresses.join(", "))
    };
    checks.bad(
        format!("{host} has no certificate yet, {names}"),
        "make its DNS record point to this machine, and start Forebay: it obtains a certificate within a minute, or its log says why not",
    );
}

fn days_text(days: u64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

fn lifetime(checks: &mut Checks, name: &str, found: Lifetime, fix: &str, clock: &Clock) {
    let (begin, end) = (found.begin.as_secs(), found.end.as_secs());
    let now = clock.now().as_secs();
    let days = end.saturating_sub(now) / 86_400;
    if begin > now {
        let days = (begin - now).div_ceil(86_400);
        checks.bad(
            format!("{name} becomes valid in {}", days_text(days)),
            "use one that is valid now",
        );
    } else if end <= now {
        checks.bad(format!("{name} has expired"), fix);
    } else if end - now < (end - begin) / LATE {
        checks.bad(format!("{name} expires in {}", days_text(days)), fix);
    } else if end - now < (end - begin) / DUE {
        checks.advise(format!("{name} expires in {}", days_text(days)), fix);
    } else {
        checks.good(format!("{name} is valid for {}", days_text(days)));
    }
}
