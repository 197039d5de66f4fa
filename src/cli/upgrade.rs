//! `forebay upgrade`.

use std::process::ExitCode;

use super::{
    UserError,
    admin_client::{AdminAddress, carry_out},
    say,
};
use crate::control::Upgraded;

/// Replace a running Forebay by a new process, without losing a request: after the program was updated, or after a change
/// that needs a restart.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Install the new program under the path of the old one first. The new process takes over the listening\n\
    sockets and the cache; the old one ends with its last request. If the new process cannot start, the old one\n\
    continues and the exit code is 1. SIGUSR2 does the same, but only the log shows its outcome."
)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminAddress,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let upgraded: Upgraded = carry_out(args.admin.resolve()?, "/upgrade", not_replaced)?;
    say(&upgraded.summary());
    Ok(ExitCode::SUCCESS)
}

fn not_replaced(error: &UserError) -> UserError {
    UserError {
        message: format!("the running process was not replaced; it continues: {}", error.message),
        help: "correct this on the machine of that Forebay, then run this again".into(),
    }
}
