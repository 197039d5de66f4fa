//! Command-line arguments.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use crate::cli::{
    connection_args::ConnectionArgs,
    listing::ListingArgs,
    load::{number, time, whole},
};

/// Fill the cache of a running Forebay: requests the objects of a list, of logs or of a bucket.
///
/// Each object is requested once, as a viewer would, and its content is discarded.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "--left FILE has the unfinished paths: pass it to --urls to resume. The exit code is 1 if a request failed. Behaviors that need\n\
    signatures accept signed cookies: -H 'Cookie: …'.\n\n\
    Examples:\n  \
    forebay warm http://127.0.0.1:8080 --access-log /var/log/forebay --top 10000\n  \
    forebay warm https://media.example.com --connect 127.0.0.1:8443 --prefix photos/2026/\n  \
    forebay warm http://127.0.0.1:8080 --urls urls.txt --rate 200 --left urls-left.txt"
)]
pub(in crate::cli) struct Args {
    /// Server to send the requests to, as viewers name it
    #[arg(value_name = "URL")]
    pub(super) server: String,
    /// File of paths or URLs, one per line; # begins a comment; `-` is standard input
    #[arg(long = "urls", value_name = "FILE", group = "source")]
    pub(super) urls_from: Option<PathBuf>,
    /// Access log (may be repeated; a directory means its files), optionally .gz: Forebay's JSON, CloudFront's standard log or the
    /// combined format. Requests that got an error are left out
    #[arg(long, value_name = "FILE", group = "source")]
    pub(super) access_log: Vec<PathBuf>,
    /// Only the objects that occur most often in the list or the logs
    #[arg(long, value_name = "NUMBER", value_parser = whole::<NonZeroUsize>, conflicts_with = "prefix")]
    pub(super) top: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(super) listing: ListingArgs,
    /// Send at most this many requests per second
    #[arg(short = 'r', long, value_name = "NUMBER", allow_negative_numbers = true, default_value_t = super::DEFAULT_RATE, value_parser = number)]
    pub(super) rate: f64,
    /// Number of connections
    #[arg(short = 'c', long, value_name = "NUMBER", default_value_t = super::DEFAULT_CONNECTIONS, value_parser = whole::<NonZeroUsize>)]
    pub(super) connections: NonZeroUsize,
    /// Longest time to wait for a response with its content
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time)]
    pub(super) timeout: Duration,
    /// Header field to add to every request (may be repeated)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(super) header: Vec<String>,
    /// Write the paths that failed or were not requested to this file
    #[arg(long, value_name = "FILE")]
    pub(super) left: Option<PathBuf>,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}
