//! `forebay diff`.

use std::{
    num::NonZeroUsize, path::PathBuf, process::ExitCode, sync::atomic::Ordering, time::Duration,
};

use clap::ValueEnum;
use http::{HeaderName, HeaderValue, header};

use super::{
    UserError,
    connection_args::ProtocolArgs,
    in_full,
    listing::ListingArgs,
    load::{INTERRUPTED, fields, number, signer, stop_when_interrupted, time, whole, wrong},
    progress_bar::progress_bar,
    report, say,
    viewer_requests::{nothing_to_request, server_of},
    warn,
};
use crate::{
    diff::{self, Options, Probe, Side},
    load::{LeftOut, Server, Targets},
};

const PROGRESS: &str = "{spinner} {percent:>3}%  {pos} of {len} objects  {eta} left";

/// Compare two servers: sends both the same requests and shows how the responses differ.
///
/// REFERENCE is the server that viewers use now, such as CloudFront; CANDIDATE will replace it. Each object is requested whole, by
/// range, conditionally, compressed and from another web site (CORS); in each folder, a missing object is requested, too.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Fields are compared by their meaning, and compressed content is decompressed first. A difference is wrong if viewers may\n\
    behave differently, harmless if they get the same in another form, and expected if any two servers differ in it, such as\n\
    Date, Age, Via and X-Cache.\n\n\
    Exit status: 0 if nothing is wrong, 1 if something is, 2 if the servers could not be compared, because the command line is\n\
    invalid, the reference failed, gives different responses to the same request or has none of the objects; 130 if the run was interrupted.\n\n\
    Examples:\n  \
    forebay diff https://d111111abcdef8.cloudfront.net http://127.0.0.1:8080 --config forebay.toml --prefix '' --i-own-this-host\n  \
    forebay diff https://d111111abcdef8.cloudfront.net http://127.0.0.1:8080 --urls urls.txt --i-own-this-host\n  \
    forebay diff https://media.example.com https://media.example.com --connect-candidate 127.0.0.1:8443 --access-log /var/log/cloudfront --top 500 --i-own-this-host"
)]
pub(super) struct Args {
    /// Server that viewers use now
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Server that will replace it
    #[arg(value_name = "CANDIDATE")]
    candidate: String,
    /// File of paths or URLs of the reference, one per line; # begins a comment; `-` is standard input
    #[arg(long = "urls", value_name = "FILE", group = "source")]
    urls_from: Option<PathBuf>,
    /// Access log (may be repeated; a directory means its files, `-` standard input), optionally .gz: Forebay's JSON,
    /// CloudFront's standard log or the combined format. Its GETs are sent, with their ranges. Signatures are removed
    #[arg(long, value_name = "FILE", group = "source")]
    access_log: Vec<PathBuf>,
    /// Only the objects that occur most often in the list or the logs
    #[arg(long, value_name = "NUMBER", value_parser = whole::<NonZeroUsize>, conflicts_with = "prefix")]
    top: Option<NonZeroUsize>,
    #[command(flatten)]
    listing: ListingArgs,
    /// Objects of each behavior of the configuration
    #[arg(long, value_name = "NUMBER", default_value = "20", value_parser = whole::<NonZeroUsize>, requires = "prefix")]
    per_behavior: NonZeroUsize,
    /// Only these kinds of requests
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    only: Vec<Kind>,
    /// Do not compare these header fields
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    ignore: Vec<HeaderName>,
    /// Also compare error pages; otherwise, each server may have its own
    #[arg(long)]
    error_pages: bool,
    /// Web site that requests for CORS come from
    #[arg(long, value_name = "URL", default_value = "https://forebay-diff.example")]
    origin: HeaderValue,
    /// Header field to add to every request (may be repeated)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Send at most this many requests per second to each server
    #[arg(short = 'r', long, value_name = "NUMBER", allow_negative_numbers = true, default_value_t = 20.0, value_parser = number)]
    rate: f64,
    /// Number of objects that are compared in parallel
    #[arg(short = 'c', long, value_name = "NUMBER", default_value = "4", value_parser = whole::<NonZeroUsize>)]
    connections: NonZeroUsize,
    /// Longest time to wait for a response with its content
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = time)]
    timeout: Duration,
    /// Sign URLs like CloudFront signed URLs, with this private key (PEM)
    #[arg(long, value_name = "FILE", requires = "key_pair_id", help_heading = "Signed URLs")]
    sign_with: Option<PathBuf>,
    /// ID of the key, for `Key-Pair-Id`
    #[arg(long, value_name = "ID", requires = "sign_with", help_heading = "Signed URLs")]
    key_pair_id: Option<String>,
    /// How long signed URLs are valid
    #[arg(long, value_name = "TIME", default_value = "1h", requires = "sign_with", value_parser = time, help_heading = "Signed URLs")]
    valid: Duration,
    /// Connect here instead of to the host of REFERENCE
    #[arg(long, value_name = "HOST:PORT", help_heading = "Connection")]
    connect_reference: Option<String>,
    /// Connect here instead of to the host of CANDIDATE
    #[arg(long, value_name = "HOST:PORT", help_heading = "Connection")]
    connect_candidate: Option<String>,
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// Print JSON, with up to 100 URLs of each difference
    #[arg(long)]
    json: bool,
}

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The whole object, or the range from a log
    Get,
    Head,
    /// The first bytes, the last bytes, and a range beyond the end
    Ranges,
    /// If-None-Match and If-Modified-Since
    Conditions,
    /// Accept-Encoding
    Compression,
    /// A request from another web site, and its preflight
    Cors,
    /// An object that does not exist, once in each folder
    Missing,
}

impl Kind {
    const fn probes(self) -> &'static [Probe] {
        match self {
            Self::Get => &[Probe::Get],
            Self::Head => &[Probe::Head],
            Self::Ranges => &[Probe::FirstBytes, Probe::LastBytes, Probe::BeyondTheEnd],
            Self::Conditions => &[Probe::IfNoneMatch, Probe::IfModifiedSince],
            Self::Compression => &[Probe::AcceptEncoding],
            Self::Cors => &[Probe::Cors, Probe::Preflight],
            Self::Missing => &[Probe::Missing],
        }
    }
}

/// Exit code if the servers could not be compared, as of `diff`.
const TROUBLE: u8 = 2;

pub(super) fn run(args: &Args) -> ExitCode {
    compare(args).unwrap_or_else(|error| {
        warn(&in_full(error));
        ExitCode::from(TROUBLE)
    })
}

fn compare(args: &Args) -> miette::Result<ExitCode> {
    let (reference, candidate) = (server_of(&args.reference)?, server_of(&args.candidate)?);
    let options = options(args)?;
    let [line, other_line] = args.protocol.lines([
        (&reference, args.connect_reference.as_deref()),
        (&candidate, args.connect_candidate.as_deref()),
    ])?;
    let first = targets(args, &reference)?;
    let second = first.at(&candidate.base);
    let stop = stop_when_interrupted()?;
    let side = |line, targets: Targets| -> miette::Result<Side> {
        let mut targets = targets.signed(signer(
            args.sign_with.as_deref(),
            args.key_pair_id.as_deref(),
            args.valid,
        )?);
        targets.sign(options.fields.get(header::HOST), &stop).map_err(report)?;
        Ok(Side { line, targets })
    };
    let sides = [side(line, first)?, side(other_line, second)?];
    let bar = progress_bar(sides[0].targets.len() as u64, PROGRESS);
    let compared = diff::run(&options, &sides, &stop, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    if compared.is_err() && stop.load(Ordering::Relaxed) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let compared = compared.map_err(|error| UserError {
        message: format!("cannot compare with {error}"),
        help: "check the URL, and that the server listens there".into(),
    })?;
    say(&if args.json { compared.json().to_string() } else { compared.table() });
    let LeftOut { no_get, unreadable } = sides[0].targets.left_out();
    if no_get + unreadable > 0 {
        warn(&format!(
            "skipped log lines: {no_get} are not GET, {unreadable} are in an unknown format"
        ));
    }
    if compared.is_interrupted() || stop.load(Ordering::Relaxed) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if compared.has_wrong() {
        return Ok(ExitCode::FAILURE);
    }
    if compared.is_inconclusive() {
        warn(
            "inconclusive: the reference failed, gives different responses to the same request, or has none of the objects; signed objects need --sign-with, and a host that the server does not know needs -H 'Host: …'",
        );
        return Ok(ExitCode::from(TROUBLE));
    }
    Ok(ExitCode::SUCCESS)
}

fn options(args: &Args) -> Result<Options, UserError> {
    if !(0.001..=1000.0).contains(&args.rate) {
        let expected = "a number of requests per second, from 0.001 to 1000";
        return Err(wrong("--rate", args.rate, expected));
    }
    for (flag, time) in [("--timeout", args.timeout), ("--valid", args.valid)] {
        if time.is_zero() {
            return Err(wrong(flag, "0", "a time, such as 1m"));
        }
    }
    let is_wanted = |probe: &Probe| {
        args.only.is_empty() || args.only.iter().any(|kind| kind.probes().contains(probe))
    };
    Ok(Options {
        probes: Probe::ALL.into_iter().filter(is_wanted).collect(),
        connections: args.connections,
        rate: args.rate,
        timeout: args.timeout,
        fields: fields(&args.header, "diff")?,
        origin: args.origin.clone(),
        ignored: args.ignore.clone(),
        with_error_pages: args.error_pages,
    })
}

fn targets(args: &Args, server: &Server) -> miette::Result<Targets> {
    let base = server.base.as_str();
    let targets = match (&args.urls_from, &args.access_log[..], &args.listing.prefix) {
        (Some(list), ..) => Targets::from_list(base, list).map_err(report)?,
        (None, logs @ [_, ..], _) => Targets::from_logs(base, logs).map_err(report)?,
        (None, [], Some(prefix)) => {
            let most = args.per_behavior.get();
            Targets::new(base, args.listing.paths(prefix, Some(most))?)
        }
        (None, [], None) => return Err(nothing_to_request().into()),
    };
    Ok(match args.top {
        Some(most) => targets.most_frequent(most.get()),
        None => targets,
    })
}
