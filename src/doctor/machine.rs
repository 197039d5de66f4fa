//! This machine: ports, certificates, files, memory.

use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use bytesize::ByteSize;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{client::verify_server_name, server::ParsedCertificate};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{Chart, Finding};
use crate::{
    access_log::Format,
    admin::Callers,
    clock::Clock,
    config::Config,
    front::{CertificateFiles, TlsSettings},
    restrict::Geography,
};

/// A certificate that ends within this time is to be renewed now.
const SOON: Duration = Duration::from_secs(14 * 86_400);

pub(super) fn examine(config: &Config, clock: &Clock) -> Vec<Finding> {
    let mut charts = vec![addresses(config), machine(config)];
    charts.push(files(config));
    if !config.listen.certificates.is_empty() {
        charts.push(certificates(config, clock));
    }
    charts.into_iter().flat_map(|chart| chart.findings).collect()
}

/// Whether the addresses can be listened on.
fn addresses(config: &Config) -> Chart {
    let mut chart = Chart::of("addresses");
    let all = config.listen.http.iter().chain(&config.listen.https).chain(config.admin.as_slice());
    for address in all {
        match TcpListener::bind(address).map_err(|error| error.kind()) {
            Ok(_) => chart.good(format!("{address} can be listened on")),
            Err(ErrorKind::AddrInUse) if is_forebay(config.admin) => {
                chart.good(format!("{address} is in use, and a Forebay runs here"));
            }
            Err(ErrorKind::AddrInUse) => chart.bad(
                format!("{address} is in use by another program"),
                format!("stop that (`ss -ltnp 'sport = :{}'` names it), or choose another address", address.port()),
            ),
            Err(ErrorKind::PermissionDenied) => chart.bad(
                format!("{address} may not be listened on by this user"),
                "choose a port above 1023, or allow it: `setcap cap_net_bind_service=+ep` on the program; the systemd unit does",
            ),
            Err(ErrorKind::AddrNotAvailable) => chart.bad(
                format!("{address} is no address of this machine"),
                "choose one that `ip address` shows, or 0.0.0.0",
            ),
            Err(kind) => chart.bad(format!("{address} cannot be listened on: {kind}"), "choose another"),
        }
    }
    chart
}

/// Whether one of us answers on the admin address.
fn is_forebay(admin: Option<SocketAddr>) -> bool {
    let patience = Duration::from_secs(2);
    admin.is_some_and(|admin| TcpStream::connect_timeout(&admin, patience).is_ok())
}

/// Whether there is enough memory, and enough open files are allowed.
fn machine(config: &Config) -> Chart {
    let mut chart = Chart::of("machine");
    let wanted = config.cache.memory;
    let text = |limit| format!("{} for the cache, of {}", ByteSize::b(wanted), ByteSize::b(limit));
    match memory_limit() {
        None => {}
        Some(limit) if wanted > limit / 10 * 9 => chart.bad(
            text(limit),
            "set `cache.memory` to three quarters of it, or less: connections need some, too",
        ),
        Some(limit) => chart.good(text(limit)),
    }
    let origins = config.distributions.iter().flat_map(|distribution| &distribution.origins);
    let to_origins: usize = origins.map(|origin| origin.max_connections).sum();
    let connections = config.listen.limits.max_connections + to_origins;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit < u64::try_from(connections).unwrap_or(u64::MAX) => chart.advise(
            format!("{limit} open files are allowed; connections may be {connections}"),
            "raise it: `ulimit -n`, or LimitNOFILE in the systemd unit; or lower `listen.max_connections`",
        ),
        _ => chart.good(format!("enough open files are allowed for {connections} connections")),
    }
    chart
}

/// The memory of this machine, or of this container if that has less.
fn memory_limit() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    machine.into_iter().chain(group).min()
}

/// Whether what the configuration names can be read or written.
fn files(config: &Config) -> Chart {
    let mut chart = Chart::of("files");
    if let Err(error) = Callers::load(&config.admin_options.callers) {
        chart.bad(error.to_string(), "put the secret there, or take out who has it");
    }
    if let Some(path) = &config.geography {
        match Geography::open(path) {
            Ok(_) => chart.good(format!("{} tells countries", path.display())),
            Err(error) => chart.bad(error.to_string(), "put a database in MaxMind's format there"),
        }
    }
    let log = &config.access_log;
    // A log of CloudFront's kind is a folder of files; others are a file in a folder.
    let log = log.path.as_deref().map(|path| match log.format {
        Some(Format::CloudFrontV1) => path,
        _ => path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")),
    });
    for folder in log.into_iter().chain(config.admin_options.state.as_deref()) {
        writable(&mut chart, folder);
    }
    chart
}

fn writable(chart: &mut Chart, folder: &Path) {
    let name = folder.display();
    let is_writable = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK);
    match is_writable {
        Ok(()) => chart.good(format!("{name} can be written to")),
        Err(rustix::io::Errno::NOENT) => chart.bad(
            format!("there is no folder {name}"),
            format!("`mkdir -p {name}`, for the user that Forebay runs as"),
        ),
        Err(error) => chart.bad(
            format!("{name} cannot be written to: {error}"),
            "give it to the user that Forebay runs as",
        ),
    }
}

/// Whether certificates can be used, last, and are for the hosts that are served.
fn certificates(config: &Config, clock: &Clock) -> Chart {
    let mut chart = Chart::of("certificates");
    let files = &config.listen.certificates;
    if let Err(error) = TlsSettings::load(files, &[]) {
        chart.bad(error.to_string(), "a certificate comes with its own key, both as PEM");
        return chart;
    }
    let leaves: Vec<_> = files.iter().filter_map(leaf).collect();
    for (file, leaf) in files.iter().zip(&leaves) {
        lifetime(&mut chart, file, leaf, clock);
    }
    let hosts = config.distributions.iter().flat_map(|distribution| &distribution.aliases);
    for host in hosts.filter(|host| *host != "*") {
        // A certificate for `*.example.com` is good for any name below.
        let name = host.replacen("*.", "any.", 1);
        let name = ServerName::try_from(name).ok();
        let is_for = |leaf: &CertificateDer<'_>| {
            let parsed = ParsedCertificate::try_from(leaf).ok();
            parsed
                .zip(name.as_ref())
                .is_some_and(|(parsed, name)| verify_server_name(&parsed, name).is_ok())
        };
        if leaves.iter().any(is_for) {
            chart.good(format!("there is one for {host}"));
        } else {
            chart.bad(
                format!("there is none for {host}"),
                "add one that names it to `listen.tls`; browsers refuse the others",
            );
        }
    }
    chart
}

fn leaf(files: &CertificateFiles) -> Option<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(&files.certificate).ok()?.next()?.ok()
}

const RENEW: &str = "renew it; SIGHUP makes Forebay read it again";

fn lifetime(chart: &mut Chart, files: &CertificateFiles, leaf: &CertificateDer<'_>, clock: &Clock) {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return };
    let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let name = files.certificate.display();
    let now = clock.now().as_secs();
    let days = end.saturating_sub(now) / 86_400;
    if end <= now {
        chart.bad(format!("{name} has ended"), RENEW);
    } else if end - now < SOON.as_secs() {
        chart.bad(format!("{name} ends in {days} days"), RENEW);
    } else {
        chart.good(format!("{name} is good for {days} days"));
    }
}
