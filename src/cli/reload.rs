//! `forebay reload`.

use std::process::ExitCode;

use super::{
    UserError,
    admin_client::{AdminAddress, carry_out},
    say,
};
use crate::control::Reloaded;

/// Reload the configuration and the certificates of a running Forebay.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Connections and the cache are kept. If the new configuration has an error, the previous one stays in\n\
    effect and the exit code is 1. SIGHUP does the same, but only the log shows its outcome."
)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminAddress,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let reloaded: Reloaded = carry_out(args.admin.resolve()?, "/reload", not_reloaded)?;
    for note in reloaded.notes() {
        say(&format!("warning: {note}"));
    }
    say(reloaded.summary());
    Ok(ExitCode::SUCCESS)
}

fn not_reloaded(error: &UserError) -> UserError {
    UserError {
        message: format!(
            "the configuration was not reloaded; the previous one stays in effect:\n{}",
            error.message
        ),
        help: "correct the configuration file on the machine of that Forebay, then run this again"
            .into(),
    }
}
