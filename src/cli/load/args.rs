//! Command-line arguments.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;

/// Generate load on a cache, and measure how fast it answers.
///
/// One after the other on each connection, or at a constant rate (--rate), whose latencies count from the
/// moment when a request was due. Requests that fail count, too: for as long as they waited in vain.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(
    after_help = "TIME is 10s, 1m30s or 500ms, SIZE 64KiB or 1MB. Rates are those of the time of asking; what is \
    under way at its end is awaited and told. Ranges and conditions need what answers tell: --warm has it from \
    the beginning. Latencies are in milliseconds.\n\n\
    Exit status: 0; 1 where it cannot begin or nothing but errors came, 2 where the command line cannot be read, 130 \
    where it was interrupted before it began.\n\n\
    Examples, with `forebay demo` in another terminal:\n  \
    forebay load http://127.0.0.1:8080/images/harbour.jpg\n  \
    forebay load http://127.0.0.1:8080/logo.png http://127.0.0.1:8080/site.css --rate 2000 --html load.html\n\
    and with a list or a log of yours:\n  \
    forebay load http://127.0.0.1:8080 --urls manifest.txt --zipf 0.9 --warm --ranges 10\n  \
    forebay load https://127.0.0.1:8443 --access-log access.log --random --http2 --insecure"
)]
pub(in crate::cli) struct Args {
    /// URL to ask for; with --urls or --access-log, the server to ask
    #[arg(value_name = "URL", required = true, num_args = 1..)]
    pub(super) urls: Vec<String>,
    /// File of paths or URLs, one a line; # begins a comment
    #[arg(
        long = "urls",
        value_name = "FILE",
        conflicts_with = "access_log",
        help_heading = "What is asked for"
    )]
    pub(super) urls_from: Option<PathBuf>,
    /// Access log whose GETs are asked for again, ranges too: JSON, or CloudFront's standard log; .gz too.
    /// Whatever hosts it tells of, this server is asked; signatures are left out. What was an error there is
    /// asked for, too
    #[arg(long, value_name = "FILE", help_heading = "What is asked for")]
    pub(super) access_log: Option<PathBuf>,
    /// Request URLs in random order; a URL that a log holds several times is requested as often
    #[arg(long, conflicts_with = "zipf", help_heading = "What is asked for")]
    pub(super) random: bool,
    /// Request by Zipf's law with this exponent; the first URLs of the list are the most popular
    #[arg(long, value_name = "EXPONENT", allow_negative_numbers = true, value_parser = number, help_heading = "What is asked for")]
    pub(super) zipf: Option<f64>,
    /// Connections open at once
    #[arg(
        short = 'c',
        long,
        value_name = "NUMBER",
        default_value = "64",
        value_parser = whole::<NonZeroUsize>,
        help_heading = "How much"
    )]
    pub(super) connections: NonZeroUsize,
    /// Speak HTTP/2; in the clear by prior knowledge, which not every server understands
    #[arg(long, help_heading = "How")]
    pub(super) http2: bool,
    /// Requests under way at once on each connection, with --http2
    #[arg(
        short = 'm',
        long,
        value_name = "NUMBER",
        default_value = "16",
        requires = "http2",
        value_parser = whole::<NonZeroUsize>,
        help_heading = "How much"
    )]
    pub(super) streams: NonZeroUsize,
    /// Threads that ask [default: one for every core, four at most]
    #[arg(short = 't', long, value_name = "NUMBER", value_parser = whole::<NonZeroUsize>, help_heading = "How much")]
    pub(super) threads: Option<NonZeroUsize>,
    /// Requests a second, whatever becomes of the answers
    #[arg(short = 'r', long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = number, help_heading = "How much")]
    pub(super) rate: Option<f64>,
    /// How long to ask
    #[arg(short = 'd', long, value_name = "TIME", default_value = "10s", value_parser = time, help_heading = "How much")]
    pub(super) duration: Duration,
    /// Stop after so many requests instead
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        conflicts_with = "duration",
        value_parser = whole::<NonZeroU64>,
        help_heading = "How much"
    )]
    pub(super) requests: Option<NonZeroU64>,
    /// Longest time for an answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time, help_heading = "How")]
    pub(super) timeout: Duration,
    /// Request everything once before measuring
    #[arg(long, help_heading = "What is asked for")]
    pub(super) warm: bool,
    /// How many of a hundred requests are for a range
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, default_value = "0", value_parser = number, help_heading = "What is asked for")]
    pub(super) ranges: f64,
    /// Length of a range
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64KiB",
        requires = "ranges",
        value_parser = size,
        help_heading = "What is asked for"
    )]
    pub(super) range_length: ByteSize,
    /// How many of a hundred requests are conditional
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, default_value = "0", value_parser = number, help_heading = "What is asked for")]
    pub(super) conditions: f64,
    /// Header field of every request (may be given several times)
    #[arg(
        short = 'H',
        long = "header",
        value_name = "NAME: VALUE",
        help_heading = "What is asked for"
    )]
    pub(super) header: Vec<String>,
    /// Sign URLs as CloudFront's customers do, with this private key (PEM)
    #[arg(long, value_name = "FILE", requires = "key_pair_id", help_heading = "Signed URLs")]
    pub(super) sign_with: Option<PathBuf>,
    /// Id of the key that signs
    #[arg(long, value_name = "ID", requires = "sign_with", help_heading = "Signed URLs")]
    pub(super) key_pair_id: Option<String>,
    /// How long signed URLs are valid
    #[arg(long, value_name = "TIME", default_value = "1h", requires = "sign_with", value_parser = time, help_heading = "Signed URLs")]
    pub(super) valid: Duration,
    /// Connect here instead of to the URL's host
    #[arg(long, value_name = "HOST:PORT", help_heading = "How")]
    pub(super) connect: Option<String>,
    /// Trust the certificates in this file (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = "How")]
    pub(super) ca: Option<PathBuf>,
    /// Trust any certificate
    #[arg(long, help_heading = "How")]
    pub(super) insecure: bool,
    /// Print the figures as JSON
    #[arg(long, help_heading = "What is told")]
    pub(super) json: bool,
    /// Write the figures, with plots, as a page
    #[arg(long, value_name = "FILE", help_heading = "What is told")]
    pub(super) html: Option<PathBuf>,
    /// Load a server that is not on this machine: yours, whose people know
    #[arg(long, help_heading = "How")]
    pub(super) i_own_this_host: bool,
}

fn time(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "write a time, such as 10s, 1m30s or 500ms")
}

fn size(text: &str) -> Result<ByteSize, &'static str> {
    text.parse().map_err(|_| "write a size, such as 64KiB or 1MB")
}

fn number(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "write a number alone, such as 5000 or 0.9")
}

/// A whole number that is not zero.
fn whole<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "write a whole number from 1 on, such as 100")
}
