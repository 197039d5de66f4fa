//! This machine: ports, certificates, files, memory.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    time::Duration,
};

use bytesize::ByteSize;

use super::{Checks, Finding};
use crate::{
    app::check_files,
    base::{clock::Clock, memory},
    cache::disk::existing,
    config::Config,
    server::{Limits, bindable},
};

pub(super) fn examine(config: &Config, clock: &Clock) -> Vec<Finding> {
    let mut all = vec![addresses(config), machine(config)];
    all.push(files(config, clock));
    all.into_iter().flat_map(|checks| checks.findings).collect()
}

/// Checks that the addresses can be bound.
fn addresses(config: &Config) -> Checks {
    let mut checks = Checks::of("addresses");
    let metrics = config.admin.and_then(running);
    let has = |line: String| metrics.as_ref().is_some_and(|metrics| metrics.contains(&line));
    let listens = |address: SocketAddr| {
        has(format!("forebay_listening{{address=\"{address}\"}} 1"))
            || Some(address) == config.admin
    };
    // An address of all interfaces conflicts with each of them.
    let shares_port = |address: SocketAddr| {
        let lines = metrics.iter().flat_map(|metrics| metrics.lines());
        let end = format!(":{}\"}} 1", address.port());
        lines.filter(|line| line.starts_with("forebay_listening{")).any(|line| line.ends_with(&end))
    };
    // Another configuration has other distributions.
    let is_ours = config.all_distributions().all(|distribution| {
        has(format!("forebay_requests_total{{distribution=\"{}\"", distribution.settings.id))
    });
    let peers = config.cluster.as_ref().and_then(|cluster| cluster.peers.as_ref());
    let all = config.listen.http.iter().chain(&config.listen.https).chain(config.admin.as_slice());
    let all = all.chain(peers.map(|peers| &peers.listen));
    for address in all.copied().map(bindable) {
        match TcpListener::bind(address).map_err(|error| error.kind()) {
            Ok(_) => checks.good(format!("{address} is free")),
            Err(ErrorKind::AddrInUse) if metrics.is_some() && is_ours && listens(address) => {
                checks.good(format!("{address} belongs to the Forebay that is running"));
            }
            Err(ErrorKind::AddrInUse) if metrics.is_some() && listens(address) => checks.bad(
                format!("{address} is in use by a Forebay that serves other distributions"),
                "stop it, reload it if it runs an earlier version of this configuration, or choose another address",
            ),
            Err(ErrorKind::AddrInUse) if shares_port(address) => checks.bad(
                format!("{address} is in use by a Forebay that listens on another address with this port"),
                "stop it, or choose another address",
            ),
            Err(ErrorKind::AddrInUse) => checks.bad(
                format!("{address} is in use by another program"),
                format!("stop that program (`ss -ltnp 'sport = :{}'` shows it), or choose another address", address.port()),
            ),
            Err(ErrorKind::PermissionDenied) => checks.bad(
                format!("this user may not listen on {address}"),
                "choose a port above 1023, or allow it with `setcap cap_net_bind_service=+ep` on the program; the systemd unit allows it",
            ),
            Err(ErrorKind::AddrNotAvailable) => checks.bad(
                format!("{address} is not an address of this machine"),
                "choose one that `ip address` shows, or 0.0.0.0",
            ),
            Err(kind) => checks.bad(format!("cannot listen on {address}: {kind}"), "choose another address"),
        }
    }
    for address in config.listen.https.iter().filter(|_| config.listen.http3) {
        match UdpSocket::bind(address).map_err(|error| error.kind()) {
            Ok(_) => checks.good(format!("{address} is free for HTTP/3 (UDP)")),
            Err(ErrorKind::AddrInUse) if is_ours && listens(*address) => {}
            Err(ErrorKind::AddrInUse) => checks.bad(
                format!("{address} is in use by another program over UDP"),
                format!("stop that program (`ss -lunp 'sport = :{}'` shows it), choose another address, or turn off `listen.http3`", address.port()),
            ),
            // The same as over TCP.
            Err(_) => {}
        }
    }
    checks
}

/// The metrics of a Forebay that runs on the admin address.
pub(super) fn running(admin: SocketAddr) -> Option<String> {
    let patience = Duration::from_secs(2);
    let metrics = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, patience)?;
        stream.set_read_timeout(Some(patience))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(1 << 20).read_to_string(&mut answer)?;
        Ok(answer)
    };
    metrics().ok().filter(|answer| answer.contains("forebay_requests"))
}

/// Checks for enough memory and a sufficient open-file limit.
fn machine(config: &Config) -> Checks {
    let mut checks = Checks::of("machine");
    let wanted = config.cache.memory;
    let text = |limit| {
        format!("`cache.memory` is {}, of {} of memory", ByteSize::b(wanted), ByteSize::b(limit))
    };
    match memory_limit() {
        None => {}
        Some(limit) if wanted > limit / 10 * 9 => checks.bad(
            text(limit),
            "set `cache.memory` to three quarters of the memory or less; connections need memory, too",
        ),
        Some(limit) => checks.good(text(limit)),
    }
    let origins = config.all_distributions().flat_map(|distribution| &distribution.origins);
    let to_origins: usize = origins.map(|origin| origin.max_connections).sum();
    let from_viewers = config.listen.limits.max_connections;
    let connections = from_viewers + to_origins;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        // Forebay adapts the default.
        Some(limit) if from_viewers == Limits::default().max_connections && limit >= 4_096 => {
            checks.good(format!("up to {limit} open files are allowed"));
        }
        Some(limit) if limit < u64::try_from(connections).unwrap_or(u64::MAX) => checks.advise(
            format!("at most {limit} open files are allowed, but the configuration allows {from_viewers} connections from viewers and {to_origins} to origins"),
            "raise the limit (`ulimit -n`, or LimitNOFILE in the systemd unit), or lower `listen.max_connections`",
        ),
        _ => checks.good(format!("enough open files are allowed for {connections} connections")),
    }
    checks
}

/// The memory of this machine, or of this container if that is less.
fn memory_limit() -> Option<u64> {
    let machine = memory::of_machine("MemTotal");
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    machine.into_iter().chain(group).min()
}

/// Checks that the files in the configuration can be read or written.
fn files(config: &Config, clock: &Clock) -> Checks {
    let mut checks = Checks::of("files");
    for error in check_files(config, clock) {
        checks.bad(error.to_string(), error.advice());
    }
    let log = &config.access_log;
    if let Some(path) = log.path.as_deref() {
        match log.format {
            Some(format) if format.is_in_files() => directory(&mut checks, path),
            // A single log file needs an existing directory.
            _ => writable(&mut checks, path.parent().unwrap_or(path)),
        }
    }
    if let Some(state) = config.admin_options.state.as_deref() {
        directory(&mut checks, state);
    }
    checks
}

/// Checks a directory that is created if it is missing.
fn directory(checks: &mut Checks, path: &Path) {
    if path.is_file() {
        let text = format!("{} is a file, not a directory", path.display());
        return checks.bad(text, "name a directory");
    }
    let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = existing(path);
    let name = path.display();
    if is_virtual(there) {
        let text = format!("{name} cannot be used: {} holds no files of programs", there.display());
        checks.bad(text, "name a directory on a disk");
    } else if there == path || rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_ok() {
        writable(checks, there);
    } else {
        checks.bad(
            format!("{name} does not exist, and this user cannot create it"),
            format!(
                "create it (`mkdir -p {name}`) and make it writable by the user that runs Forebay; the systemd unit creates /var/lib/forebay and /var/log/forebay by itself"
            ),
        );
    }
}

/// Whether a directory belongs to a file system of the kernel, which looks writable to root.
fn is_virtual(directory: &Path) -> bool {
    const PROC: u64 = 0x9fa0;
    const SYSFS: u64 = 0x6265_6572;
    rustix::fs::statfs(directory)
        .is_ok_and(|found| [PROC, SYSFS].contains(&u64::try_from(found.f_type).unwrap_or(0)))
}

fn writable(checks: &mut Checks, directory: &Path) {
    let directory = if directory == Path::new("") { Path::new(".") } else { directory };
    let name = directory.display();
    match rustix::fs::access(directory, rustix::fs::Access::WRITE_OK) {
        Ok(()) => checks.good(format!("{name} is writable")),
        Err(rustix::io::Errno::NOENT) => checks.bad(
            format!("the directory {name} does not exist"),
            format!(
                "create it (`mkdir -p {name}`) and make it writable by the user that runs Forebay; the systemd unit creates /var/lib/forebay and /var/log/forebay by itself"
            ),
        ),
        Err(error) => checks.bad(
            format!("{name} is not writable: {error}"),
            "make it writable by the user that runs Forebay",
        ),
    }
}
