//! The command line.

mod ask;
mod check;
#[cfg(feature = "demo")]
mod demo;
mod explain;
mod health;
mod purge;
mod serve;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use miette::Diagnostic;

/// Forebay, a CDN edge for private S3 buckets on your own machines.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    max_term_width = 100,
    after_help = "FOREBAY_LOG sets what is logged to standard error, such as \"forebay=debug\"."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve buckets, by a configuration file or by flags
    Serve(serve::Args),
    /// Check a configuration file: all faults at once, nothing is started
    Check(check::Args),
    /// Try it: a private bucket with sample media in this process, and Forebay in front of it
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    /// Purge a running Forebay: paths, everything below a path, or cache tags
    Purge(purge::Args),
    /// Ask a running Forebay what becomes of a request, and why
    Explain(explain::Args),
    /// Ask a running Forebay whether it is alive (for container health checks)
    Health(health::Args),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    init_log();
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Health(args) => health::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(report) => {
            warn(&format!("{report:?}"));
            ExitCode::FAILURE
        }
    }
}

/// The log goes to standard error; standard output belongs to the access log and to answers.
fn init_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FOREBAY_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("warn,forebay=info,aws_config=error,s3s=off")
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}

/// Writes a line to standard output. A closed pipe is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Writes a line to standard error.
fn warn(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Any error as a report. Our errors tell their causes themselves.
fn report(error: impl std::fmt::Display) -> miette::Report {
    miette::miette!("{error}")
}

/// A report about something a person can mend.
#[derive(Debug, Diagnostic, thiserror::Error)]
#[error("{message}")]
#[diagnostic(help("{help}"))]
struct Mendable {
    message: String,
    help: String,
}
