//! `[listen]`, `[admin]` and `[access_log]`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    origin::bucket_location,
    prices::prices,
    restrict::networks,
    section::{Placed, Section},
};
use crate::{
    access::restrict::Networks,
    access_log,
    control::{self, CallerOptions, Secret},
    log_delivery::DeliveryOptions,
    server::Limits,
    tls::CertificateFiles,
};

/// An address to bind.
pub(crate) type Address = SocketAddr;

/// `[listen]`.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Addresses for plain HTTP.
    pub http: Vec<Address>,
    /// Addresses for HTTPS.
    pub https: Vec<Address>,
    /// Whether the addresses for HTTPS also have HTTP/3, over UDP.
    pub http3: bool,
    /// Certificates, the default one first.
    pub certificates: Vec<CertificateFiles>,
    /// Worker threads; one per core by default.
    pub workers: Option<usize>,
    /// Connection limits.
    pub limits: Limits,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted.
    pub trusted_proxies: Networks,
    /// The location of this machine, in one word.
    pub pop: String,
    /// Time from when `/readyz` fails until accepting stops.
    pub drain_delay: Duration,
    /// Time from when accepting stops until the process exits.
    pub drain: Duration,
}

/// Reads `http3`.
fn http3(section: &Section<'_>, listen: &mut Listen) {
    listen.http3 = section.boolean("http3").is_some_and(|http3| http3.value);
    if listen.http3 && !section.has("https") {
        let help = "add `https = \"[::]:443\"`".to_owned();
        section.fault(section.span(), "`listen.http3` needs an address", "no `https` here", help);
    }
    if listen.http3 && listen.limits.proxy_protocol {
        let message = "`listen.http3` cannot be used with `proxy_protocol`";
        let help = "remove one of them: the PROXY protocol is for TCP".to_owned();
        section.fault(section.span(), message, "both are true", help);
    }
}

pub(super) fn listen(root: &Section<'_>, directory: &Path) -> Listen {
    let mut listen = Listen {
        http: Vec::new(),
        https: Vec::new(),
        http3: false,
        certificates: Vec::new(),
        workers: None,
        limits: Limits::default(),
        trusted_proxies: Networks::default(),
        pop: "EDGE".to_owned(),
        drain_delay: Duration::ZERO,
        drain: Duration::from_secs(30),
    };
    let Some(section) = root.table("listen") else {
        let help = "add:\n\n[listen]\nhttp = \"[::]:8080\"".to_owned();
        root.fault(0..0, "`[listen]` is missing", "in this file", help);
        return listen;
    };
    listen.http = addresses(&section, "http");
    listen.https = addresses(&section, "https");
    listen.certificates = certificates(&section, directory);
    listen.workers = section.number("workers", 1..1025).and_then(|n| usize::try_from(n).ok());
    limits(&section, &mut listen.limits);
    proxies(&section, &mut listen);
    http3(&section, &mut listen);
    if let Some(pop) = section.string("pop") {
        if pop.value.is_empty()
            || !pop.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            let message = format!("`{}` is not a valid `pop`", pop.value);
            section.fault(pop.span.clone(), message, "use only letters, digits and `-`", None);
        }
        pop.value.clone_into(&mut listen.pop);
    }
    set(&mut listen.drain_delay, section.duration("drain_delay"));
    set(&mut listen.drain, section.duration("drain"));
    if !section.has("http") && !section.has("https") {
        let help = "add `http = \"[::]:8080\"`".to_owned();
        section.fault(section.span(), "nothing to listen on", "neither http nor https", help);
    }
    if !listen.https.is_empty()
        && listen.certificates.is_empty()
        && !section.has("tls")
        && !section.has("acme")
    {
        let help = "add `tls = { certificate = \"cert.pem\", key = \"key.pem\" }`, or `acme = {}` to get a certificate from Let's Encrypt".to_owned();
        section.fault(section.span(), "`listen.https` needs a certificate", "no `tls` here", help);
    }
    let all: Vec<&Address> = listen.http.iter().chain(&listen.https).collect();
    let taken = all.iter().enumerate().find_map(|(place, address)| {
        let other = all[..place].iter().find(|other| clash(address, other))?;
        Some((*address, *other))
    });
    if let Some((address, other)) = taken {
        let message = format!("{address} is already covered by {other}");
        let help =
            "give each an address or port of its own; [::] means all addresses, IPv6 and IPv4"
                .to_owned();
        section.fault(section.span(), message, "in this table", help);
    }
    if listen.https.is_empty() && section.has("tls") && !section.has("https") {
        let help = "add `https = \"[::]:8443\"`, or remove `tls`".to_owned();
        section.fault(section.span(), "`listen.tls` has no effect", "no `https` here", help);
    }
    // `acme` needs the distributions, too.
    let _ = section.table("acme");
    section.unknown();
    listen
}

fn limits(section: &Section<'_>, limits: &mut Limits) {
    if let Some(connections) = section.number("max_connections", 1..10_000_001) {
        limits.max_connections = usize::try_from(connections).unwrap_or(limits.max_connections);
    }
    if let Some(connections) = section.number("max_connections_per_client", 1..10_000_001) {
        let connections = usize::try_from(connections).ok();
        limits.max_connections_per_client = connections;
        if connections.is_some_and(|connections| connections > limits.max_connections) {
            let message = "`max_connections_per_client` is more than `max_connections`";
            let help = "lower it, or raise `max_connections`".to_owned();
            section.fault(section.span(), message, "in this table", help);
        }
    }
    if let Some(streams) = section.number("max_streams", 1..10_001) {
        limits.max_streams = u32::try_from(streams).unwrap_or(limits.max_streams);
    }
    set(&mut limits.handshake_timeout, section.duration("handshake_timeout"));
    set(&mut limits.header_timeout, section.duration("header_timeout"));
    set(&mut limits.idle_timeout, section.duration("idle_timeout"));
    set(&mut limits.write_timeout, section.duration("write_timeout"));
}

/// `trusted_proxies` and `proxy_protocol`.
fn proxies(section: &Section<'_>, listen: &mut Listen) {
    listen.trusted_proxies = networks(section, "trusted_proxies");
    if let Some(flag) = section.boolean("proxy_protocol") {
        listen.limits.proxy_protocol = flag.value;
        if flag.value && listen.trusted_proxies.is_empty() {
            let help = "add `trusted_proxies` with the addresses of your load balancers".to_owned();
            let message = "`proxy_protocol` would trust any client";
            section.fault(flag.span, message, "there are no trusted proxies", help);
        }
    }
}

fn set<T>(target: &mut T, value: Option<Placed<T>>) {
    if let Some(value) = value {
        *target = value.value;
    }
}

fn addresses(section: &Section<'_>, key: &'static str) -> Vec<Address> {
    let texts = section.strings(key).unwrap_or_default();
    texts.into_iter().filter_map(|text| listen_address(section, text)).collect()
}

/// Whether two listeners cannot have these addresses: the port is the same, and one is an address of all or both are
/// the same.
fn clash(one: &Address, other: &Address) -> bool {
    let is_all = |address: &Address| address.ip().is_unspecified();
    let overlaps = one.ip() == other.ip() || is_all(one) || is_all(other);
    one.port() == other.port() && one.port() != 0 && overlaps
}

/// An IP address and a port to listen on.
pub(super) fn listen_address(section: &Section<'_>, text: Placed<&str>) -> Option<Address> {
    let parsed = text.value.parse().ok();
    if parsed.is_none() {
        section.fault(
            text.span,
            format!("`{}` is not an address to listen on", text.value),
            "expected IP address and port",
            "such as \"127.0.0.1:8080\", or \"[::]:8080\" for all addresses of this machine"
                .to_owned(),
        );
    }
    parsed
}

fn certificates(section: &Section<'_>, directory: &Path) -> Vec<CertificateFiles> {
    let mut files = Vec::new();
    for tls in section.tables("tls") {
        let help = "write `tls = { certificate = \"cert.pem\", key = \"key.pem\" }";
        let certificate = tls.required("certificate", help);
        let key = tls.required("key", help);
        if let (Some(certificate), Some(key)) = (certificate, key) {
            let path = |text: Placed<&str>| directory.join(text.value);
            files.push(CertificateFiles { certificate: path(certificate), key: path(key) });
        }
        tls.unknown();
    }
    files
}

/// The admin address if none is configured.
pub(crate) const DEFAULT_ADMIN: Address =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9145);

/// `[admin]`: the admin address, and the callers that can make changes.
pub(super) fn admin(
    root: &Section<'_>,
    viewers: &Listen,
    directory: &Path,
) -> (Option<Address>, control::Options) {
    let has_https = !viewers.https.is_empty();
    let mut options = control::Options { has_https, ..control::Options::default() };
    let Some(section) = root.table("admin") else { return (Some(DEFAULT_ADMIN), options) };
    options.callers = callers(&section, directory);
    options.prices = prices(&section);
    options.state = section.string("state").map(|folder| directory.join(folder.value));
    let listen = match section.string("listen") {
        None => Some(DEFAULT_ADMIN),
        Some(text) if text.value == "off" => None,
        Some(text) => {
            let span = text.span.clone();
            let listen = listen_address(&section, text);
            let taken = |admin: &Address| {
                viewers.http.iter().chain(&viewers.https).any(|other| clash(admin, other))
            };
            if listen.as_ref().is_some_and(taken) {
                let help = "set `admin.listen` to another address or port".to_owned();
                section.fault(span.clone(), "`[listen]` already uses this address", "taken", help);
            }
            if listen.is_some_and(|admin| !admin.ip().is_loopback()) && options.callers.is_empty() {
                let help =
                    "add an `[[admin.token]]` or `[[admin.credential]]`, or listen on 127.0.0.1";
                let message = "anyone who can reach this address could purge the cache";
                section.fault(span, message, "not a loopback address", help.to_owned());
            }
            listen
        }
    };
    section.unknown();
    (listen, options)
}

/// `[[admin.credential]]` and `[[admin.token]]`.
fn callers(section: &Section<'_>, directory: &Path) -> CallerOptions {
    let mut options = CallerOptions::default();
    for table in section.tables("credential") {
        let id =
            table.required("access_key_id", "add the id that callers set as AWS_ACCESS_KEY_ID");
        let secret = secret(&table, directory);
        table.unknown();
        options.credentials.extend(id.map(|id| id.value.to_owned()).zip(secret));
    }
    for table in section.tables("token") {
        let name = table.required("name", "add a `name`; it identifies the caller in the log");
        let secret = secret(&table, directory);
        table.unknown();
        options.tokens.extend(name.map(|name| name.value.to_owned()).zip(secret));
    }
    options
}

fn secret(table: &Section<'_>, directory: &Path) -> Option<Secret> {
    let file = table.string("secret_file").map(|path| Secret::File(directory.join(path.value)));
    let variable = table.string("secret_env").map(|name| Secret::Variable(name.value.to_owned()));
    match (file, variable) {
        (Some(secret), None) | (None, Some(secret)) => Some(secret),
        _ => {
            let help =
                "add `secret_file = \"/run/secrets/admin\"` or `secret_env = \"ADMIN_SECRET\"`";
            let message = "expected either `secret_file` or `secret_env`";
            table.fault(table.span(), message, "in this table", help.to_owned());
            None
        }
    }
}

/// `[access_log]`, and how its files are delivered.
pub(super) fn access_log(
    root: &Section<'_>,
    directory: &Path,
) -> (access_log::Options, Option<DeliveryOptions>) {
    let mut options = access_log::Options::default();
    let Some(section) = root.table("access_log") else { return (options, None) };
    if let Some(format) = section.string("format") {
        match format.value {
            "json" => options.format = Some(access_log::Format::Json),
            "combined" => options.format = Some(access_log::Format::Combined),
            "cloudfront-v1" => options.format = Some(access_log::Format::CloudFrontV1),
            "cloudfront-v2" => options.format = Some(access_log::Format::CloudFrontV2),
            "cloudfront-v2-parquet" => {
                options.format = Some(access_log::Format::CloudFrontV2Parquet);
            }
            "off" => options.format = None,
            other => section.fault(
                format.span,
                format!("the log format `{other}` is not supported"),
                "expected json, combined, cloudfront-v1, cloudfront-v2, cloudfront-v2-parquet or off",
                None,
            ),
        }
    }
    let path: Option<PathBuf> = section.string("path").map(|path| directory.join(path.value));
    options.path = path;
    if let Some(size) = section.size("max_file_size") {
        options.max_file_size = size.value;
        if size.value < 1 << 10 {
            let message = "`max_file_size` is too small".to_owned();
            section.fault(size.span, message, "expected at least 1KiB", None);
        }
    }
    set(&mut options.hive_directories, section.boolean("hive_directories"));
    let is_in_files = options.format.is_some_and(access_log::Format::is_in_files);
    let without_effect = |key: &str| {
        section.doubt(format!(
            "`access_log.{key}` has no effect: only CloudFront's formats have files for each hour"
        ));
    };
    if options.hive_directories && !is_in_files {
        without_effect("hive_directories");
    }
    if is_in_files && options.path.is_none() {
        let help = "add `path = \"/var/log/forebay\"`, the directory for the log files".to_owned();
        section.fault(section.span(), "this log format needs a directory", "no `path` here", help);
    }
    let delivery = section.table("s3").and_then(|section| delivery(&section));
    if section.has("s3") && options.max_file_size > LARGEST_DELIVERED {
        let message =
            "`max_file_size` is too large for `access_log.s3`, which reads whole files into memory";
        section.fault(section.span(), message, "expected at most 256MiB", None);
    }
    if section.has("s3") && !is_in_files {
        without_effect("s3");
    }
    section.unknown();
    (options, delivery)
}

/// The largest `max_file_size` of files that are delivered.
const LARGEST_DELIVERED: u64 = 256 << 20;

/// `[access_log.s3]`.
fn delivery(section: &Section<'_>) -> Option<DeliveryOptions> {
    const MAX_WAITING: u64 = 10 << 30;
    let bucket = section.required("bucket", "add the name of the bucket that receives the logs");
    let place = bucket_location(section, bucket.as_ref());
    let prefix = section.string("prefix");
    if let Some(prefix) =
        prefix.as_ref().filter(|it| it.value.starts_with('/') || it.value.contains(['{', '}']))
    {
        let message = format!("`{}` cannot be the beginning of a key", prefix.value);
        let help = "write, for example, \"cdn/\"; `hive_directories` adds distribution and date"
            .to_owned();
        section.fault(prefix.span.clone(), message, "no leading slash, no variables", help);
    }
    let prefix = prefix.map_or("", |prefix| prefix.value).to_owned();
    let max_waiting = section.size("max_waiting");
    if let Some(size) = max_waiting.as_ref().filter(|size| size.value < 1 << 20) {
        let message = "`max_waiting` is too small: files would be removed after each failure";
        section.fault(size.span.clone(), message, "expected at least 1MiB", None);
    }
    let max_waiting = max_waiting.map_or(MAX_WAITING, |size| size.value);
    section.unknown();
    let (address, region, bucket) = place?;
    Some(DeliveryOptions { bucket, region, address, prefix, max_waiting })
}
