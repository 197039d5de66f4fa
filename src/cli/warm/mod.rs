//! `forebay warm`.

mod args;

use std::{
    num::NonZeroUsize, path::Path, process::ExitCode, sync::atomic::Ordering, time::Duration,
};

pub(super) use args::Args;
use bytesize::ByteSize;
use http::uri::PathAndQuery;

use super::{
    UserError,
    connection_args::ConnectionArgs,
    load::{INTERRUPTED, fields, stop_when_interrupted, wrong},
    progress_bar::progress_bar,
    report, say,
    viewer_requests::{no_url, nothing_to_request, server_of},
    warn,
};
use crate::load::{Server, Targets, WarmOptions, Warmed, warm_all};

/// Defaults of the flags.
const DEFAULT_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(8).expect("more than 0");
const DEFAULT_RATE: f64 = 50.0;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

const PROGRESS: &str = "{spinner} {percent:>3}%  {pos} of {len}  {per_sec}  {eta} left";

/// Failures that are printed.
const SHOWN: usize = 10;

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let server = server_of(&args.server)?;
    if !(0.001..=1e7).contains(&args.rate) {
        return Err(wrong(
            "--rate",
            args.rate,
            "a number of requests per second, from 0.001 to 10000000",
        )
        .into());
    }
    if args.timeout.is_zero() {
        return Err(wrong("--timeout", "0", "a time, such as 5m").into());
    }
    let targets = targets(args, &server)?;
    if let Some(file) = &args.left {
        // Not only when the work is done.
        write_left(file, &Warmed::default(), &targets.paths())?;
    }
    let options = WarmOptions {
        connections: args.connections,
        rate: Some(args.rate),
        timeout: args.timeout,
        fields: fields(&args.header, "warm")?,
    };
    request(&options, (&server, &args.connection), &targets, args.left.as_deref())
}

/// Requests paths that were purged.
pub(super) fn warm_paths(
    url: &str,
    connection: &ConnectionArgs,
    paths: Vec<PathAndQuery>,
) -> miette::Result<ExitCode> {
    let (server, _) = Server::of(url).map_err(|error| no_url(&error))?;
    let options = WarmOptions {
        connections: DEFAULT_CONNECTIONS,
        rate: Some(DEFAULT_RATE),
        timeout: DEFAULT_TIMEOUT,
        fields: fields(&[], "warm")?,
    };
    request(&options, (&server, connection), &Targets::new(&server.base, paths), None)
}

fn request(
    options: &WarmOptions,
    (server, connection): (&Server, &ConnectionArgs),
    targets: &Targets,
    left: Option<&Path>,
) -> miette::Result<ExitCode> {
    let line = connection.line(server)?;
    let stop = stop_when_interrupted()?;
    let bar = progress_bar(targets.len() as u64, PROGRESS);
    let warmed = warm_all(options, &line, targets, &stop, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let warmed = warmed.map_err(report)?;
    show(&warmed, left.is_some());
    if let Some(file) = left {
        write_left(file, &warmed, &[])?;
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(if warmed.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn targets(args: &Args, server: &Server) -> miette::Result<Targets> {
    let base = server.base.as_str();
    let targets = match (&args.urls_from, &args.access_log[..], &args.listing.prefix) {
        (Some(list), ..) => Targets::from_list(base, list).map_err(report)?,
        (None, logs @ [_, ..], _) => Targets::objects_of_logs(base, logs).map_err(report)?,
        (None, [], Some(prefix)) => Targets::new(base, args.listing.paths(prefix, None)?),
        (None, [], None) => {
            return Err(nothing_to_request().into());
        }
    };
    Ok(match args.top {
        Some(most) => targets.most_frequent(most.get()),
        None => targets,
    })
}

fn show(warmed: &Warmed, has_file: bool) {
    let Warmed { hits, fetched, bytes, failed, left } = warmed;
    say(&format!(
        "{fetched} fetched, {hits} in the cache already, {} failed, {} not requested; {} received",
        failed.len(),
        left.len(),
        ByteSize(*bytes)
    ));
    for (path, reason) in failed.iter().take(SHOWN) {
        warn(&format!("  {}: {reason}", path.path()));
    }
    if failed.len() > SHOWN {
        warn(&format!("  and {} more", failed.len() - SHOWN));
    }
    let is_complete = failed.is_empty() && left.is_empty();
    if !is_complete && !has_file {
        warn("with --left FILE, what is missing is written to a file that --urls accepts");
    }
}

/// Writes what failed and what was not requested, as a list for `--urls`. The file is replaced as a whole.
fn write_left(file: &Path, warmed: &Warmed, more: &[&PathAndQuery]) -> Result<(), UserError> {
    let failed = warmed.failed.iter().map(|(path, _)| path);
    let lines = failed.chain(&warmed.left).chain(more.iter().copied()).map(PathAndQuery::as_str);
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, file));
    written.map_err(|error| UserError {
        message: format!("cannot write `{}`: {error}", file.display()),
        help: "name a file in a directory that you may write to with --left".into(),
    })
}
