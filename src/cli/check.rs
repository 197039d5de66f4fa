//! `forebay check`.

use std::process::ExitCode;

use super::{
    UserError, in_full, say,
    source::{ConfigFile, load_file, load_one},
    warn,
};
use crate::{app::check_files, base::clock::Clock};

/// Check a configuration file and the files that it names, and report all errors, without starting anything.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
    /// Do not read the files that the configuration names, because they are on another machine
    #[arg(long)]
    no_files: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let path = args.file.required()?;
    let config = if args.no_files { load_one(&path)? } else { load_file(&path)? };
    for distribution in config.all_distributions() {
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
    for doubt in config.doubts() {
        say(&format!("warning: {doubt}"));
    }
    let errors = if args.no_files { Vec::new() } else { check_files(&config, &Clock::system()) };
    for error in &errors {
        let help = error.advice().into_owned();
        warn(&in_full(UserError { message: error.to_string(), help }.into()));
    }
    let path = path.display();
    if !errors.is_empty() {
        say(&format!("{path}: {} in the files that it names", count(errors.len(), "error")));
        return Ok(ExitCode::FAILURE);
    }
    let files = if args.no_files { "; the files that it names were not read" } else { "" };
    say(&format!(
        "{path}: no errors{files} (`forebay doctor` also checks directories, hosts and lifetimes of certificates, buckets and NATS)"
    ));
    Ok(ExitCode::SUCCESS)
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
