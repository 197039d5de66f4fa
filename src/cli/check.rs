//! `forebay check`.

use std::{path::PathBuf, process::ExitCode};

use super::{say, source::load_file};

/// Check a configuration file: all faults at once, nothing is started.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let config = load_file(&args.config)?;
    for distribution in &config.distributions {
        let patterns = distribution.settings.behaviors.ordered.len();
        say(&format!(
            "distribution {}: {} for {}, {} and {}",
            distribution.settings.id,
            count(distribution.origins.len(), "origin"),
            distribution.aliases.join(", "),
            count(patterns, "path pattern"),
            "the default behavior",
        ));
    }
    for door in config.open_doors() {
        say(&format!("warning: {door}"));
    }
    say(&format!("{}: no faults (files it names are read by serve only)", args.config.display()));
    Ok(ExitCode::SUCCESS)
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
