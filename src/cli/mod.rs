//! The command line.

mod admin_client;
mod cache;
mod check;
mod cluster;
mod completions;
mod connection_args;
#[cfg(feature = "demo")]
mod demo;
mod diff;
mod doctor;
mod explain;
mod flag_faults;
mod health;
mod html_file;
mod import;
mod init;
mod keys;
mod listing;
mod load;
mod logs;
mod man;
mod program;
mod progress_bar;
mod promote;
mod prompt;
mod purge;
mod reload;
mod serve;
mod sign;
mod signals;
mod simulate;
mod source;
mod stop_signals;
mod style;
mod systemd;
mod upgrade;
mod upgrade_progress;
mod viewer_requests;
mod warm;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};
use miette::Diagnostic;
use tracing_subscriber::EnvFilter;

use crate::{base::log, config::Faults};

/// Forebay, a CDN edge for private S3 buckets on your own machines.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    max_term_width = 100,
    after_help = "FOREBAY_LOG sets the log level on standard error: error, warn, info or debug."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve buckets, from a configuration file or from flags
    Serve(source::ConfigSource),
    /// Check a configuration file and the files that it names, and report all errors, without starting anything
    Check(check::Args),
    /// Try Forebay: run it in front of a private bucket with sample media, in one process
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    /// Purge a running Forebay: paths, everything below a path, or cache tags
    Purge(purge::Args),
    /// Reload the configuration and the certificates of a running Forebay
    Reload(reload::Args),
    /// Put the staging configuration into effect for all requests
    Promote(promote::Args),
    /// Replace a running Forebay by a new process, for example of a new version, without losing a request
    Upgrade(upgrade::Args),
    /// Show what a running Forebay does with a request, and why
    Explain(explain::Args),
    /// Show the requests to a running Forebay as they end
    Logs(logs::Args),
    /// Set up a bucket: writes the configuration, an IAM policy and Django settings
    Init(init::Args),
    /// Check that everything a configuration needs is available: ports, certificates, credentials, buckets
    Doctor(doctor::Args),
    /// Convert another CDN's configuration
    Import(import::Args),
    /// Look at a disk cache, verify it, or empty it
    Cache(cache::Args),
    /// Set up a cluster, or look at the one that a running Forebay belongs to
    Cluster(cluster::Args),
    /// Load-test a cache: sends many requests and reports throughput and latency
    Load(load::Args),
    /// Fill the cache of a running Forebay: requests the objects of a list, of logs or of a bucket
    Warm(warm::Args),
    /// Predict from access logs how large a cache must be: hit ratio and what the bucket still costs, by size
    Simulate(simulate::Args),
    /// Compare two servers: sends both the same requests and shows how the responses differ
    Diff(diff::Args),
    /// Sign a URL like a CloudFront signed URL, or print signed cookies
    Sign(sign::Args),
    /// Generate keys for signed URLs and signed cookies
    Keys(keys::Args),
    /// Check that a running Forebay is alive (for container health checks)
    Health(health::Args),
    /// Print shell completions
    Completions(completions::Args),
    /// Write the man pages
    Man(man::Args),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // A wrapped line cannot be pasted. Only the first call can fail, and this is it.
    let _ = miette::set_hook(Box::new(|_| {
        Box::new(miette::MietteHandlerOpts::new().wrap_lines(false).build())
    }));
    let _log = start_log();
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Promote(args) => promote::run(&args),
        Command::Upgrade(args) => upgrade::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Cache(args) => cache::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Warm(args) => warm::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Diff(args) => Ok(diff::run(&args)),
        Command::Sign(args) => sign::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Completions(args) => Ok(completions::run(&args)),
        Command::Man(args) => man::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(report) => {
            warn(&in_full(report));
            ExitCode::FAILURE
        }
    }
}

/// An error with its place and its fix. The faults of a configuration follow each other: miette would put the word
/// "Error:" on a line of its own before each.
fn in_full(error: miette::Report) -> String {
    let parts: Vec<miette::Report> = match error.downcast::<Faults>() {
        Ok(all) => {
            let heading = report(&all);
            std::iter::once(heading).chain(all.faults.into_iter().map(Into::into)).collect()
        }
        Err(error) => vec![error],
    };
    parts.iter().map(|part| format!("{part:?}")).collect::<Vec<_>>().join("\n")
}

/// Starts logging to standard error; standard output is for the access log and command output.
fn start_log() -> log::Log {
    const USUAL: &str = "warn,forebay=info,aws_config=error,s3s=off";
    let wanted = std::env::var("FOREBAY_LOG").ok().filter(|wanted| !wanted.is_empty());
    let known = wanted.as_deref().and_then(filter);
    let is_unknown = wanted.is_some() && known.is_none();
    let log = log::start(known.unwrap_or_else(|| EnvFilter::new(USUAL)));
    if is_unknown {
        let wanted = wanted.unwrap_or_default();
        tracing::warn!(
            "FOREBAY_LOG is `{wanted}`, which is not a log level: set it to error, warn, info or debug, or to levels per module such as \"warn,forebay=debug\""
        );
    }
    log
}

/// Parses levels, global or per module. Rejects unknown words, which would silence the log.
fn filter(wanted: &str) -> Option<EnvFilter> {
    let is_level = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok();
    let good =
        wanted.split(',').all(|part| is_level(part.rsplit('=').next().unwrap_or(part).trim()));
    EnvFilter::try_new(wanted).ok().filter(|_| good)
}

/// Writes a line to standard output, with colours if that is a terminal. A closed pipe is not an error.
fn say(line: &str) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// Writes a line to standard error.
fn warn(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Converts any error to a report. Our error messages include their causes.
fn report(error: impl std::fmt::Display) -> miette::Report {
    miette::miette!("{error}")
}

/// An error that the user can fix.
#[derive(Debug, Diagnostic, thiserror::Error)]
#[error("{message}")]
#[diagnostic(help("{help}"))]
struct UserError {
    message: String,
    help: String,
}
