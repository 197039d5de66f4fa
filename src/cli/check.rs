//! `forebay check`.

use std::process::ExitCode;

use super::{
    say,
    source::{ConfigFile, load_file},
};

/// Check a configuration file and report all its errors, without starting anything.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let path = args.file.required()?;
    let config = load_file(&path)?;
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
    for doubt in config.doubts() {
        say(&format!("warning: {doubt}"));
    }
    say(&format!(
        "{}: no errors (`forebay doctor` also checks certificates, secrets, directories, geo databases, buckets and NATS)",
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
