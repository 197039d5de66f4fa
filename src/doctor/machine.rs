//! This machine: ports, certificates, files, memory.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
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
    access::restrict::Geography,
    access_log::Format,
    base::clock::Clock,
    behavior::ViewerProtocol,
    config::{Config, DistributionOptions},
    control::Callers,
    server::{CertificateFiles, TlsSettings},
};

/// A certificate that expires within this time must be renewed now.
const SOON: Duration = Duration::from_secs(14 * 86_400);

pub(super) fn examine(config: &Config, clock: &Clock) -> Vec<Finding> {
    let mut charts = vec![addresses(config), machine(config)];
    charts.push(files(config));
    charts.push(certificates(config, clock));
    charts.into_iter().flat_map(|chart| chart.findings).collect()
}

/// Checks that the addresses can be bound.
fn addresses(config: &Config) -> Chart {
    let mut chart = Chart::of("addresses");
    let runs = config.admin.is_some_and(is_forebay);
    let all = config.listen.http.iter().chain(&config.listen.https).chain(config.admin.as_slice());
    for address in all {
        match TcpListener::bind(address).map_err(|error| error.kind()) {
            Ok(_) => chart.good(format!("{address} can be listened on")),
            Err(ErrorKind::AddrInUse) if runs && Some(*address) == config.admin => {
                chart.good(format!("{address} is a Forebay's that runs here"));
            }
            Err(ErrorKind::AddrInUse) if runs => chart.advise(
                format!("{address} is in use, and a Forebay runs here"),
                format!("check that it is this Forebay: `ss -ltnp 'sport = :{}'`", address.port()),
            ),
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

/// Whether a Forebay process answers on the admin address.
fn is_forebay(admin: SocketAddr) -> bool {
    let patience = Duration::from_secs(2);
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, patience)?;
        stream.set_read_timeout(Some(patience))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(1 << 20).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("forebay_requests"))
}

/// Checks for enough memory and a sufficient open-file limit.
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

/// The memory of this machine, or of this container if that is less.
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

/// Checks that the files in the configuration can be read or written.
fn files(config: &Config) -> Chart {
    let mut chart = Chart::of("files");
    if let Err(error) = Callers::load(&config.admin_options.callers) {
        chart.bad(error.to_string(), "put the secret there, or take out who has it");
    }
    if let Some(databases) = &config.geography {
        match Geography::open(databases) {
            Ok(_) => chart.good(format!("{} has countries", databases.places.display())),
            Err(error) => chart.bad(error.to_string(), "put a database in MaxMind's format there"),
        }
    }
    let log = &config.access_log;
    if let Some(path) = log.path.as_deref() {
        match log.format {
            Some(Format::CloudFrontV1) => folder(&mut chart, path),
            // A single log file needs an existing folder.
            _ => writable(&mut chart, path.parent().unwrap_or(path)),
        }
    }
    if let Some(state) = config.admin_options.state.as_deref() {
        folder(&mut chart, state);
    }
    chart
}

/// Checks a folder that is created if it is missing.
fn folder(chart: &mut Chart, path: &Path) {
    if path.is_file() {
        let text = format!("{} is a file, and not a folder", path.display());
        return chart.bad(text, "name a folder");
    }
    let there = path.ancestors().find(|folder| folder.exists());
    writable(chart, there.unwrap_or(path));
}

fn writable(chart: &mut Chart, folder: &Path) {
    let folder = if folder == Path::new("") { Path::new(".") } else { folder };
    let name = folder.display();
    match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
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

/// Checks that certificates are usable, do not expire soon, and match the served hosts.
fn certificates(config: &Config, clock: &Clock) -> Chart {
    let mut chart = Chart::of("certificates");
    let files = &config.listen.certificates;
    if files.is_empty() {
        if let Some(id) = config.distributions.iter().find_map(wants_tls) {
            chart.advise(
                format!("distribution {id} sends viewers to HTTPS, and there is no `listen.https`"),
                "give it a certificate (`listen.tls`), or set `public_scheme = \"https\"` where a load balancer ends TLS",
            );
        }
        return chart;
    }
    if let Err(error) = TlsSettings::load(files, &[]) {
        chart.bad(crate::aws::describe(&error), error.advice());
        return chart;
    }
    let leaves: Vec<_> = files.iter().filter_map(leaf).collect();
    for (file, leaf) in files.iter().zip(&leaves) {
        lifetime(&mut chart, file, leaf, clock);
    }
    let hosts = config.distributions.iter().flat_map(|distribution| &distribution.aliases);
    for host in hosts.filter(|host| *host != "*") {
        // A certificate for `*.example.com` is valid for any name below it.
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

/// The id of a distribution that does not serve plain HTTP, if no setting says that TLS ends elsewhere.
pub(super) fn wants_tls(distribution: &DistributionOptions) -> Option<&str> {
    let settings = &distribution.settings;
    let is_plain = settings.public_scheme.as_deref() != Some("https");
    let default = &settings.behaviors.default;
    let wants = default.viewer_protocol != ViewerProtocol::AllowAll;
    (is_plain && wants).then_some(&*settings.id)
}

fn leaf(files: &CertificateFiles) -> Option<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(&files.certificate).ok()?.next()?.ok()
}

fn days_text(days: u64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

const RENEW: &str = "renew it; SIGHUP makes Forebay read it again";

fn lifetime(chart: &mut Chart, files: &CertificateFiles, leaf: &CertificateDer<'_>, clock: &Clock) {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return };
    let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let name = files.certificate.display();
    let now = clock.now().as_secs();
    let days = end.saturating_sub(now) / 86_400;
    let begin = u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or(0);
    if begin > now {
        let days = (begin - now).div_ceil(86_400);
        chart.bad(
            format!("{name} becomes valid in {}", days_text(days)),
            "use one that is valid now",
        );
    } else if end <= now {
        chart.bad(format!("{name} has expired"), RENEW);
    } else if end - now < SOON.as_secs() {
        chart.bad(format!("{name} expires in {}", days_text(days)), RENEW);
    } else {
        chart.good(format!("{name} is valid for {}", days_text(days)));
    }
}
