//! `forebay load`.

mod args;
mod progress;

use std::{
    io::ErrorKind,
    num::{NonZeroU64, NonZeroUsize},
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use args::Tolerance;
pub(super) use args::{Args, number, time, whole};
use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};
use progress::Progress;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{UserError, html_file::HtmlFile, report, say, viewer_requests::no_url, warn},
    load::{self, Due, Mix, Options, Pick, Report, Server, Signer, Targets, Until, milliseconds},
};

/// How long requests are sent unless it is given.
const USUAL_DURATION: Duration = Duration::from_secs(10);

/// Exit code that shells report after SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let (server, _) = Server::of(&args.urls[0]).map_err(|error| no_url(&error))?;
    let mut options = options(args)?;
    let mut targets = targets(args, &server)?;
    if let Some(speed) = args.speed {
        follow_log(args, speed, &mut options, &mut targets)?;
    }
    check_validity(args, options.until)?;
    let line = args.connection.line(&server)?;
    let page = args.html.as_deref().map(HtmlFile::open).transpose()?;
    allow_connections(&options)?;
    let stop = stop_when_interrupted()?;
    let progress = Progress::new(&options);
    let report = load::run(options, line, targets, &stop, |event| progress.show(event));
    progress.finish();
    if report.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
        warn("interrupted before measuring started");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let report = report.map_err(|error| UserError {
        message: format!("cannot load-test {}: {error}", server.base),
        help: match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::TimedOut => {
                "check that a server listens there".into()
            }
            _ if error.to_string().contains("403") => {
                "if the URL needs a signature, add --sign-with KEY_FILE and --key-pair-id ID; otherwise ask `forebay explain` why".into()
            }
            _ if ["421", "301", "307"].iter().any(|status| error.to_string().contains(status)) => {
                "use the scheme and a host that the server serves in the URL, and --connect ADDRESS for where it listens".into()
            }
            _ if server.tls => {
                "check that the server serves this URL, and that its certificate covers the name"
                    .into()
            }
            _ => "check that the server serves this URL".into(),
        },
    })?;
    if args.json {
        say(&report.json().to_string());
    } else {
        say(report.table().trim_end());
    }
    if let Some(page) = page {
        page.write(&report.page())?;
    }
    Ok(exit_code(args, &report))
}

/// The exit code of a finished run. Prints the limits that it exceeded.
fn exit_code(args: &Args, report: &Report) -> ExitCode {
    if report.is_interrupted() {
        return ExitCode::from(INTERRUPTED);
    }
    let errors = report.errors_count();
    let (exceeded, limit) = match args.fail_over_errors {
        Tolerance::Number(most) => (errors > most, most.to_string()),
        Tolerance::Percent(most) => (report.error_ratio() * 100.0 > most, format!("{most}%")),
    };
    let mut failed = !report.has_success();
    if exceeded {
        warn(&format!("failed: {errors} errors, more than --fail-over-errors {limit}"));
        failed = true;
    }
    if let (Some(most), Some(p99)) = (args.max_p99, report.p99())
        && p99 > most
    {
        let (p99, most) = (milliseconds(p99), humantime::format_duration(most));
        warn(&format!("failed: the p99 is {p99}, longer than --max-p99 {most}"));
        failed = true;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The command line for the report, without credentials.
fn command() -> String {
    let mut words = vec!["forebay".to_owned()];
    let mut is_header = false;
    for word in std::env::args().skip(1) {
        let secret = ["authorization", "cookie", "proxy-authorization"];
        let shown = match word.split_once(':') {
            Some((name, _))
                if is_header && secret.contains(&name.trim().to_ascii_lowercase().as_str()) =>
            {
                format!("{name}: …")
            }
            _ => word.clone(),
        };
        is_header = word == "-H" || word == "--header";
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=%,@+".contains(c);
        let quoted = !shown.is_empty() && shown.chars().all(is_plain);
        words.push(if quoted { shown } else { format!("'{}'", shown.replace('\'', "'\\''")) });
    }
    words.join(" ")
}

/// Flag that is set when the run is interrupted (Ctrl-C, SIGTERM): the run then prints its figures. A second
/// interrupt exits at once.
pub(super) fn stop_when_interrupted() -> miette::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(report)?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let Ok(mut terminated) = signal(SignalKind::terminate()) else { return };
            loop {
                tokio::select! {
                    pressed = tokio::signal::ctrl_c() => if pressed.is_err() { return },
                    _ = terminated.recv() => {}
                }
                if shared.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED.into());
                }
            }
        });
    });
    Ok(stop)
}

/// Raises the open-file limit to the required number, as far as allowed.
fn allow_connections(options: &Options) -> Result<(), UserError> {
    /// Standard streams, the report file and the signal handler.
    const OTHERS: usize = 64;
    /// Descriptors per thread: its timer and its runtime's poller.
    const THREAD: usize = 8;
    let connections = options.connections.get();
    let threads = options.threads.get().min(connections);
    let needed = (connections + threads * THREAD + OTHERS) as u64;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.current.is_none_or(|most| most >= needed) {
        return Ok(());
    }
    let raised = rustix::process::Rlimit { current: Some(needed), maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).map_err(|error| {
        UserError {
            message: format!(
                "{connections} connections are more than this process may open: {error}"
            ),
            help: format!("raise the limit (ulimit -n {needed}), or lower --connections"),
        }
    })
}

fn targets(args: &Args, server: &Server) -> miette::Result<Targets> {
    let base = server.base.as_str();
    let (from, logs) = (&args.urls_from, &args.access_log[..]);
    if let Some((flag, url)) = superfluous(args) {
        return Err(UserError {
            message: format!("`{url}` would be ignored, because {flag} names the URLs"),
            help: format!("give only the server ({base}), or leave out {flag}"),
        }
        .into());
    }
    let targets = match (from, logs) {
        (Some(list), _) => Targets::from_list(base, list).map_err(report)?,
        (None, [_, ..]) => Targets::from_logs(base, logs).map_err(report)?,
        (None, []) => {
            let mut paths = Vec::with_capacity(args.urls.len());
            for url in &args.urls {
                let (named, path) = Server::of(url).map_err(|error| no_url(&error))?;
                if named != *server {
                    let message = format!("`{url}` is not a URL of {base}");
                    let help = "test one server at a time".into();
                    return Err(UserError { message, help }.into());
                }
                paths.push(path);
            }
            Targets::new(base, paths)
        }
    };
    let signer = signer(args.sign_with.as_deref(), args.key_pair_id.as_deref(), args.valid)?;
    Ok(targets.signed(signer).picked(pick(args)?))
}

/// Sends the requests of a log when they were logged, to the end of the log unless a duration is given.
fn follow_log(
    args: &Args,
    speed: f64,
    options: &mut Options,
    targets: &mut Targets,
) -> miette::Result<()> {
    if !(0.001..=1e6).contains(&speed) {
        return Err(wrong("--speed", speed, "a factor from 0.001 to 1000000, such as 2").into());
    }
    let times = targets.schedule(speed).map_err(report)?;
    let end = times.last().copied().unwrap_or_default() + Duration::from_millis(1);
    options.until = Until::Time(args.duration.map_or(end, |most| most.min(end)));
    options.due = Due::Logged(times.into(), speed);
    Ok(())
}

/// A URL argument that would be ignored because a file lists the URLs, and the file's flag.
fn superfluous(args: &Args) -> Option<(&'static str, &String)> {
    let flag = match (&args.urls_from, &args.access_log[..]) {
        (Some(_), _) => "--urls",
        (None, [_, ..]) => "--access-log",
        (None, []) => return None,
    };
    let names_path = Server::of(&args.urls[0]).is_ok_and(|(_, path)| path != "/");
    let url = if names_path { args.urls.first() } else { args.urls.get(1) };
    url.map(|url| (flag, url))
}

/// The signer for URLs, if there is a key.
pub(super) fn signer(
    sign_with: Option<&Path>,
    key_pair_id: Option<&str>,
    valid: Duration,
) -> miette::Result<Option<Signer>> {
    let (Some(key), Some(id)) = (sign_with, key_pair_id) else { return Ok(None) };
    Signer::open(key, id, valid).map(Some).map_err(report)
}

/// Checks that signed URLs stay valid until a run ends.
fn check_validity(args: &Args, until: Until) -> Result<(), UserError> {
    match until {
        Until::Time(time) if args.sign_with.is_some() && args.valid <= time => Err(UserError {
            message: format!(
                "URLs that are valid for {} expire during a run of {}",
                humantime::format_duration(args.valid),
                humantime::format_duration(time)
            ),
            help: "raise --valid; signing and warming take some of that time".into(),
        }),
        _ => Ok(()),
    }
}

fn pick(args: &Args) -> miette::Result<Pick> {
    match args.zipf {
        Some(exponent) if exponent.is_finite() && exponent >= 0.0 => Ok(Pick::Zipf(exponent)),
        Some(exponent) => {
            Err(wrong("--zipf", exponent, "an exponent of 0 or more, usually near 1").into())
        }
        None if args.random => Ok(Pick::Random),
        None => Ok(Pick::Order),
    }
}

pub(super) fn wrong(flag: &str, value: impl std::fmt::Display, expected: &str) -> UserError {
    let message = format!("{flag} cannot be {value}");
    UserError { message, help: format!("use {expected}") }
}

fn options(args: &Args) -> Result<Options, UserError> {
    /// Limit of the default: the server's machine seldom has more to spare.
    const MOST_THREADS: usize = 4;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let usual = NonZeroUsize::new(cores.min(MOST_THREADS)).unwrap_or(NonZeroUsize::MIN);
    check_numbers(args)?;
    let until = args.requests.map(NonZeroU64::get);
    Ok(Options {
        threads: args.threads.unwrap_or(usual),
        connections: args.connections,
        streams: args.streams,
        due: args.rate.map_or(Due::AtOnce, Due::Rate),
        until: until.map_or(Until::Time(args.duration.unwrap_or(USUAL_DURATION)), Until::Requests),
        timeout: args.timeout,
        fields: fields(&args.header, "load")?,
        mix: Mix {
            ranges: args.ranges,
            range_length: args.range_length.as_u64(),
            conditions: args.conditions,
        },
        warm: args.warm,
        command: command(),
    })
}

fn check_numbers(args: &Args) -> Result<(), UserError> {
    /// Limit of concurrent requests, each of which takes some memory.
    const MOST_LANES: usize = 1_000_000;
    if let Some(rate) = args.rate.filter(|rate| !(0.001..=1e7).contains(rate)) {
        let expected = "a number of requests per second, from 0.001 to 10000000";
        return Err(wrong("--rate", rate, expected));
    }
    let times = [args.duration.unwrap_or(USUAL_DURATION), args.timeout, args.valid];
    for (flag, time) in ["--duration", "--timeout", "--valid"].into_iter().zip(times) {
        if time.is_zero() {
            return Err(wrong(flag, "0", "a time, such as 10s"));
        }
    }
    let is_multiplexed = args.connection.protocol.http2 || args.connection.protocol.http3;
    let streams = if is_multiplexed { args.streams } else { NonZeroUsize::MIN };
    let lanes = args.connections.saturating_mul(streams);
    if lanes.get() > MOST_LANES {
        let flags = if is_multiplexed { "--connections times --streams" } else { "--connections" };
        return Err(wrong(flags, lanes, "at most 1000000"));
    }
    if args.range_length.as_u64() == 0 {
        return Err(wrong("--range-length", "0", "a length, such as 64KiB"));
    }
    let (ranges, conditions) = (args.ranges, args.conditions);
    for (flag, part) in [("--ranges", ranges), ("--conditions", conditions)] {
        if !(0.0..=100.0).contains(&part) {
            return Err(wrong(flag, part, "a percentage from 0 to 100"));
        }
    }
    if ranges + conditions > 100.0 {
        let flags = "--ranges and --conditions together";
        return Err(wrong(flags, ranges + conditions, "at most 100"));
    }
    Ok(())
}

/// Headers of every request: the given ones, and `User-Agent` unless given.
pub(super) fn fields(lines: &[String], command: &str) -> Result<HeaderMap, UserError> {
    let mut fields = HeaderMap::new();
    for line in lines {
        let (name, value) = field(line)?;
        if name == header::HOST
            && (fields.contains_key(&name) || Authority::try_from(value.as_bytes()).is_err())
        {
            let message = format!("`{line}` has an invalid host, or is a second Host field");
            let help = "write it once, as -H 'Host: media.example.com'".into();
            return Err(UserError { message, help });
        }
        if name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING {
            let message = format!("`{line}` describes content, but these requests have none");
            return Err(UserError { message, help: "remove this header field".into() });
        }
        fields.append(name, value);
    }
    let agent = format!("forebay-{command}/{}", env!("CARGO_PKG_VERSION"));
    if let (false, Ok(agent)) =
        (fields.contains_key(header::USER_AGENT), HeaderValue::try_from(agent))
    {
        fields.insert(header::USER_AGENT, agent);
    }
    Ok(fields)
}

fn field(line: &str) -> Result<(HeaderName, HeaderValue), UserError> {
    let parsed = line
        .split_once(':')
        .and_then(|(name, value)| Some((name.trim().parse().ok()?, value.trim().parse().ok()?)));
    parsed.ok_or_else(|| UserError {
        message: format!("`{line}` is not a header field"),
        help: "write it as -H 'Accept: image/webp'".into(),
    })
}
