//! `forebay health`.

use std::process::ExitCode;

use super::{
    admin_client::{AdminAddress, Authentication, exchange, no_answer},
    say,
};

/// Check that a running Forebay is alive (for container health checks).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The exit code is 0 if Forebay is alive (with --ready, if it is ready), and 1 otherwise."
)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminAddress,
    /// Check that it is ready for viewers, not only alive
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let admin = args.admin.resolve()?;
    let (status, content) = exchange(admin, ("GET", path), "", &Authentication::None)
        .map_err(|error| no_answer(admin, &error))?;
    say(&content);
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
