//! `forebay health`.

use std::{net::SocketAddr, process::ExitCode};

use super::{
    ask::{Proof, admin_address, exchange},
    say,
};

/// Check that a running Forebay is alive (for container health checks).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Admin address of the running Forebay
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9145", value_parser = admin_address)]
    admin: SocketAddr,
    /// Check that it is ready for viewers, not only alive
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let (status, content) = exchange(args.admin, ("GET", path), "", &Proof::None)
        .map_err(|error| miette::miette!("{} does not answer: {error}", args.admin))?;
    say(&content);
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
