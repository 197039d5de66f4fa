//! `forebay cluster`.

mod init;
mod owner;
mod status;

use std::process::ExitCode;

use clap::Subcommand;

/// Set up a cluster, or look at the one that a running Forebay belongs to.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the nodes and what each has applied
    Status(status::Args),
    /// Show which node fetches a URL from the origin for the others
    Owner(owner::Args),
    /// Make the certificates by which the nodes recognize each other
    Init(init::Args),
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    match &args.action {
        Action::Status(args) => status::run(args),
        Action::Owner(args) => owner::run(args),
        Action::Init(args) => init::run(args),
    }
}
