//! Command-line arguments.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;

use crate::cli::connection_args::ConnectionArgs;

/// Load-test a cache: sends many requests and reports throughput and latency.
///
/// Each connection sends one request after the other. With --rate, requests are sent at a constant rate, and each
/// latency is measured from the time its request was due. Latencies include failed requests, with the time
/// until they failed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "TIME is a value such as 10s, 1m30s or 500ms; SIZE is one such as 64KiB or 1MB. Rates count responses until the \
    duration ends; requests still in flight are then awaited and reported. Ranges and conditional requests need lengths \
    and validators from earlier responses: --warm gets them first. Latencies are in milliseconds.\n\n\
    Exit status: 0 on success, 1 if the run could not start or exceeded --fail-over-errors or --max-p99, 2 if the command \
    line is invalid, 130 if the run was interrupted.\n\n\
    Examples, with `forebay demo` in another terminal:\n  \
    forebay load http://127.0.0.1:8080/images/harbour.jpg\n  \
    forebay load http://127.0.0.1:8080/images/logo.png http://127.0.0.1:8080/site.css --rate 2000 --html load.html\n\
    and with your own list or log:\n  \
    forebay load http://127.0.0.1:8080 --urls manifest.txt --zipf 0.9 --warm --ranges 10\n  \
    forebay load https://127.0.0.1:8443 --access-log access.log --random --http2 --insecure"
)]
pub(in crate::cli) struct Args {
    /// URL to request; with --urls or --access-log, the server to send requests to
    #[arg(value_name = "URL", required = true, num_args = 1..)]
    pub(super) urls: Vec<String>,
    /// File of paths or URLs, one per line; # begins a comment
    #[arg(
        long = "urls",
        value_name = "FILE",
        conflicts_with = "access_log",
        help_heading = "Requests"
    )]
    pub(super) urls_from: Option<PathBuf>,
    /// Access log to replay (may be repeated; a directory means its files, `-` standard input), optionally .gz: Forebay's JSON,
    /// CloudFront's standard log or the combined format. Replays every GET with its range, errors included. All requests go to
    /// this server, whatever host the log names. Signatures are removed
    #[arg(long, value_name = "FILE", help_heading = "Requests")]
    pub(super) access_log: Vec<PathBuf>,
    /// Request URLs in random order; URLs that occur more often in a log are requested more often
    #[arg(long, conflicts_with = "zipf", help_heading = "Requests")]
    pub(super) random: bool,
    /// Pick URLs by Zipf's law with this exponent; the first URLs of the list are the most popular
    #[arg(long, value_name = "EXPONENT", allow_negative_numbers = true, value_parser = number, help_heading = "Requests")]
    pub(super) zipf: Option<f64>,
    /// Number of connections
    #[arg(
        short = 'c',
        long,
        value_name = "NUMBER",
        default_value = "64",
        value_parser = whole::<NonZeroUsize>,
        help_heading = "Load"
    )]
    pub(super) connections: NonZeroUsize,
    /// Concurrent requests on each connection, with --http2 or --http3
    #[arg(
        short = 'm',
        long,
        value_name = "NUMBER",
        default_value = "16",
        requires = "multiplexed",
        value_parser = whole::<NonZeroUsize>,
        help_heading = "Load"
    )]
    pub(super) streams: NonZeroUsize,
    /// Number of threads [default: one per core, at most four]
    #[arg(short = 't', long, value_name = "NUMBER", value_parser = whole::<NonZeroUsize>, help_heading = "Load")]
    pub(super) threads: Option<NonZeroUsize>,
    /// Send this many requests per second, however slow the responses are
    #[arg(short = 'r', long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = number, help_heading = "Load")]
    pub(super) rate: Option<f64>,
    /// Send the requests of --access-log when they were logged: 1 at the same speed, 2 twice as fast
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = number, requires = "access_log", conflicts_with_all = ["rate", "random", "zipf", "requests"], help_heading = "Load")]
    pub(super) speed: Option<f64>,
    /// How long to send requests [default: 10s; with --speed, until the log ends]
    #[arg(short = 'd', long, value_name = "TIME", value_parser = time, help_heading = "Load")]
    pub(super) duration: Option<Duration>,
    /// Stop after this many requests instead
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        conflicts_with = "duration",
        value_parser = whole::<NonZeroU64>,
        help_heading = "Load"
    )]
    pub(super) requests: Option<NonZeroU64>,
    /// Longest time to wait for a response
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time, help_heading = "Connection")]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
    /// Request everything once before measuring
    #[arg(long, help_heading = "Requests")]
    pub(super) warm: bool,
    /// Percentage of requests that are for a range
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, default_value = "0", value_parser = number, help_heading = "Requests")]
    pub(super) ranges: f64,
    /// Length of a range
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64KiB",
        requires = "ranges",
        value_parser = size,
        help_heading = "Requests"
    )]
    pub(super) range_length: ByteSize,
    /// Percentage of requests that are conditional
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, default_value = "0", value_parser = number, help_heading = "Requests")]
    pub(super) conditions: f64,
    /// Header field to add to every request (may be repeated)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", help_heading = "Requests")]
    pub(super) header: Vec<String>,
    /// Sign URLs like CloudFront signed URLs, with this private key (PEM)
    #[arg(long, value_name = "FILE", requires = "key_pair_id", help_heading = "Signed URLs")]
    pub(super) sign_with: Option<PathBuf>,
    /// ID of the key, for `Key-Pair-Id`
    #[arg(long, value_name = "ID", requires = "sign_with", help_heading = "Signed URLs")]
    pub(super) key_pair_id: Option<String>,
    /// How long signed URLs are valid
    #[arg(long, value_name = "TIME", default_value = "1h", requires = "sign_with", value_parser = time, help_heading = "Signed URLs")]
    pub(super) valid: Duration,
    /// Exit with 1 if more requests than this fail or get an error response: a number, or a percentage such as 0.1%
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = tolerance, help_heading = "Output")]
    pub(super) fail_over_errors: Tolerance,
    /// Exit with 1 if the 99th percentile of latency exceeds this
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Output")]
    pub(super) max_p99: Option<Duration>,
    /// Print the results as JSON
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// Write the results, with plots, as an HTML page
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) html: Option<PathBuf>,
}

pub(in crate::cli) fn time(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "write a time, such as 10s, 1m30s or 500ms")
}

fn size(text: &str) -> Result<ByteSize, &'static str> {
    text.parse().map_err(|_| "write a size, such as 64KiB or 1MB")
}

/// How many requests may fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) enum Tolerance {
    /// This many.
    Number(u64),
    /// This percentage of all requests.
    Percent(f64),
}

fn tolerance(text: &str) -> Result<Tolerance, &'static str> {
    let parsed = match text.strip_suffix('%') {
        Some(part) => {
            let part = part.trim().parse().ok().filter(|part| (0.0..=100.0).contains(part));
            part.map(Tolerance::Percent)
        }
        None => text.parse().ok().map(Tolerance::Number),
    };
    parsed.ok_or("write a number, or a percentage such as 0.1%")
}

pub(in crate::cli) fn number(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "write a plain number, such as 5000 or 0.9")
}

/// A whole number that is not zero.
pub(in crate::cli) fn whole<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "write a whole number of at least 1, such as 100")
}
