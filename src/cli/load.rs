//! `forebay load`.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use bytesize::ByteSize;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use indicatif::{ProgressBar, ProgressStyle};
use rustls::pki_types::ServerName;

use super::{Mendable, report, say};
use crate::load::{self, Http, Line, Mix, Options, Pick, Second, Signer, Targets, Trust, Until};

/// Ask a cache for much at once, and see how fast it answers.
///
/// One after the other on each connection, or at a constant rate (--rate), whose latencies count from the
/// moment when a request was due.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = "forebay load http://127.0.0.1:8080/photos/harbour.jpg\n\
    forebay load https://127.0.0.1:8443 --access-log access.log --random --http2 --insecure\n\
    forebay load http://127.0.0.1:8080 --urls manifest.txt --zipf 0.9 --warm --rate 5000 --html load.html")]
pub(super) struct Args {
    /// URL to ask for; with --urls or --access-log, the server to ask
    #[arg(value_name = "URL", required = true, num_args = 1..)]
    urls: Vec<String>,
    /// File of paths or URLs, one a line
    #[arg(long = "urls", value_name = "FILE", conflicts_with = "access_log")]
    urls_from: Option<PathBuf>,
    /// Access log whose GETs are asked for again: JSON, or CloudFront's standard log; .gz too
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Ask in random order; of a log, for each URL as often as it stands there
    #[arg(long, conflicts_with = "zipf")]
    random: bool,
    /// Ask by Zipf's law with this exponent, for the first of the list most often
    #[arg(long, value_name = "EXPONENT")]
    zipf: Option<f64>,
    /// Connections open at once
    #[arg(short = 'c', long, value_name = "NUMBER", default_value = "64")]
    connections: NonZeroUsize,
    /// Speak HTTP/2, also in the clear
    #[arg(long)]
    http2: bool,
    /// Requests under way at once on each connection, with --http2
    #[arg(short = 'm', long, value_name = "NUMBER", default_value = "16", requires = "http2")]
    streams: NonZeroUsize,
    /// Threads that ask [default: one for every core, four at most]
    #[arg(short = 't', long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
    /// Requests a second, whatever becomes of the answers
    #[arg(short = 'r', long, value_name = "NUMBER")]
    rate: Option<f64>,
    /// How long to ask
    #[arg(short = 'd', long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Stop after so many requests instead
    #[arg(short = 'n', long, value_name = "NUMBER", conflicts_with = "duration")]
    requests: Option<u64>,
    /// Longest time for an answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Ask for everything once before it counts
    #[arg(long)]
    warm: bool,
    /// How many of a hundred requests are for a range
    #[arg(long, value_name = "PERCENT", default_value = "0")]
    ranges: f64,
    /// Length of a range
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    range_length: ByteSize,
    /// How many of a hundred requests are conditional
    #[arg(long, value_name = "PERCENT", default_value = "0")]
    conditions: f64,
    /// Header field of every request (may be given several times)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Sign URLs as CloudFront's customers do, with this private key (PEM)
    #[arg(long, value_name = "FILE", requires = "key_pair_id")]
    sign_with: Option<PathBuf>,
    /// Id of the key that signs
    #[arg(long, value_name = "ID", requires = "sign_with")]
    key_pair_id: Option<String>,
    /// How long signed URLs are valid
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    valid: Duration,
    /// Connect here instead of to the URL's host
    #[arg(long, value_name = "HOST:PORT")]
    connect: Option<String>,
    /// Trust the certificates in this file (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Trust any certificate
    #[arg(long)]
    insecure: bool,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Write the figures, with plots, as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Load a server that is not on this machine: yours, whose people know
    #[arg(long)]
    i_own_this_host: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let server = Server::of(&args.urls[0])?;
    let targets = targets(args, &server)?;
    let addresses = addresses(args, &server)?;
    let line = line(args, &server, addresses)?;
    let options = options(args)?;
    let progress = Progress::new(args, &options);
    let report = load::run(options, line, targets, |second| progress.tell(second));
    progress.finish();
    let report = report.map_err(|error| Mendable {
        message: format!("{} cannot be loaded: {error}", server.base),
        help: "does it listen there, and serve what is asked for? try the URL with curl".into(),
    })?;
    if let Some(path) = &args.html {
        std::fs::write(path, report.page()).map_err(|error| Mendable {
            message: format!("cannot write `{}`: {error}", path.display()),
            help: "give --html a file in a folder that is there".into(),
        })?;
    }
    if args.json {
        say(&report.json().to_string());
    } else {
        say(report.table().trim_end());
    }
    Ok(if report.has_answers() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The server that a URL names.
struct Server {
    /// Scheme and authority.
    base: String,
    host: String,
    port: u16,
    tls: bool,
}

impl Server {
    fn of(url: &str) -> Result<Self, Mendable> {
        let refuse = || Mendable {
            message: format!("`{url}` is no URL"),
            help: "write, for example, http://127.0.0.1:8080/photos/harbour.jpg".into(),
        };
        let uri: Uri = url.parse().map_err(|_| refuse())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(refuse)?;
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let scheme = if tls { "https" } else { "http" };
        Ok(Self { base: format!("{scheme}://{authority}"), host, port, tls })
    }
}

fn targets(args: &Args, server: &Server) -> miette::Result<Targets> {
    let base = server.base.as_str();
    let targets = match (&args.urls_from, &args.access_log) {
        (Some(list), _) => Targets::from_list(base, list).map_err(report)?,
        (_, Some(log)) => Targets::from_log(base, log).map_err(report)?,
        (None, None) => {
            let paths = args.urls.iter().map(|url| {
                let uri: Option<Uri> = url.parse().ok();
                let path = uri.as_ref().and_then(Uri::path_and_query).cloned();
                path.filter(|_| Server::of(url).is_ok_and(|one| one.base == base)).ok_or_else(
                    || Mendable {
                        message: format!("`{url}` is no URL of {base}"),
                        help: "ask one server at a time".into(),
                    },
                )
            });
            Targets::new(base, paths.collect::<Result<_, _>>()?)
        }
    };
    let signer = match (&args.sign_with, &args.key_pair_id) {
        (Some(key), Some(id)) => Some(Signer::open(key, id, args.valid).map_err(report)?),
        _ => None,
    };
    let pick = match args.zipf {
        Some(exponent) if exponent.is_finite() && exponent >= 0.0 => Pick::Zipf(exponent),
        Some(exponent) => {
            return Err(wrong("--zipf", exponent, "an exponent of 0 or more, usually near 1"));
        }
        None if args.random => Pick::Random,
        None => Pick::Order,
    };
    Ok(targets.signed(signer).picked(pick))
}

fn wrong(flag: &str, value: f64, expected: &str) -> miette::Report {
    let message = format!("{flag} cannot be {value}");
    Mendable { message, help: format!("give it {expected}") }.into()
}

fn addresses(args: &Args, server: &Server) -> miette::Result<Vec<SocketAddr>> {
    let Server { host, port, .. } = server;
    let named =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let place = args.connect.clone().unwrap_or(named);
    let found = place.to_socket_addrs().map_err(|error| Mendable {
        message: format!("`{place}` has no address: {error}"),
        help: "write a host and a port; --connect HOST:PORT goes where names do not lead".into(),
    })?;
    let found: Vec<SocketAddr> = found.collect();
    if !args.i_own_this_host && !load::is_loopback(&found) {
        return Err(Mendable {
            message: format!("{place} is not on this machine"),
            help: "a load test is an attack on whoever did not ask for it; where the host is yours, say so: \
                   --i-own-this-host"
                .into(),
        }
        .into());
    }
    Ok(found)
}

fn line(args: &Args, server: &Server, addresses: Vec<SocketAddr>) -> miette::Result<Line> {
    let http = if args.http2 { Http::Two } else { Http::One };
    if !server.tls {
        return Ok(Line::clear(addresses, http));
    }
    let name = ServerName::try_from(server.host.clone()).map_err(report)?;
    let trust = match &args.ca {
        _ if args.insecure => Trust::Anybody,
        Some(path) => Trust::File(Path::new(path)),
        None => Trust::Native,
    };
    Line::encrypted(addresses, http, name, trust).map_err(report)
}

fn options(args: &Args) -> miette::Result<Options> {
    /// More of them than that a server's machine seldom leaves.
    const MOST_THREADS: usize = 4;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let usual = NonZeroUsize::new(cores.min(MOST_THREADS)).unwrap_or(NonZeroUsize::MIN);
    if let Some(rate) = args.rate.filter(|rate| !(0.001..=1e7).contains(rate)) {
        let expected = "a number of requests a second, from 0.001 to 10000000";
        return Err(wrong("--rate", rate, expected));
    }
    let (ranges, conditions) = (args.ranges, args.conditions);
    for (flag, part) in [("--ranges", ranges), ("--conditions", conditions)] {
        if !(0.0..=100.0).contains(&part) {
            return Err(wrong(flag, part, "a part of a hundred"));
        }
    }
    if ranges + conditions > 100.0 {
        return Err(wrong(
            "--ranges and --conditions together",
            ranges + conditions,
            "100 at most",
        ));
    }
    let mut fields = HeaderMap::new();
    let agent = concat!("forebay-load/", env!("CARGO_PKG_VERSION"));
    fields.insert(http::header::USER_AGENT, HeaderValue::from_static(agent));
    for line in &args.header {
        let (name, value) = field(line)?;
        fields.insert(name, value);
    }
    Ok(Options {
        threads: args.threads.unwrap_or(usual),
        connections: args.connections,
        streams: args.streams,
        rate: args.rate,
        until: args.requests.map_or(Until::Time(args.duration), Until::Requests),
        timeout: args.timeout,
        fields,
        mix: Mix { ranges, range_length: args.range_length.as_u64(), conditions },
        warm: args.warm,
    })
}

fn field(line: &str) -> Result<(HeaderName, HeaderValue), Mendable> {
    let parsed = line
        .split_once(':')
        .and_then(|(name, value)| Some((name.trim().parse().ok()?, value.trim().parse().ok()?)));
    parsed.ok_or_else(|| Mendable {
        message: format!("`{line}` is no header field"),
        help: "write it as -H 'Accept: image/webp'".into(),
    })
}

/// One line in the terminal, anew each second; nothing where there is no terminal.
struct Progress(ProgressBar);

impl Progress {
    fn new(args: &Args, options: &Options) -> Self {
        let bar = match options.until {
            Until::Time(_) => ProgressBar::new_spinner(),
            Until::Requests(requests) => ProgressBar::new(requests),
        };
        let style = ProgressStyle::with_template("{spinner} {elapsed:>4}  {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(125));
        bar.set_message(if args.warm { "warming" } else { "asking" });
        Self(bar)
    }

    fn tell(&self, second: &Second) {
        let [p50, p90, p99, p999] =
            second.percentiles.map(|value| format!("{:.2}", value.as_secs_f64() * 1000.0));
        let hits = second.hit_ratio.map_or("–".into(), |ratio| format!("{:.1} %", ratio * 100.0));
        self.0.set_position(self.0.position() + second.answers);
        self.0.set_message(format!(
            "{} requests  hits {hits}  {}  p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999} ms  errors {}",
            second.answers,
            ByteSize(second.bytes),
            second.errors,
        ));
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}
