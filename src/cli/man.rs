//! `forebay man`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Command, CommandFactory};

use super::{Cli, UserError, say};

/// Write the man pages.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  forebay man --dir /usr/local/share/man/man1 && man forebay-load"
)]
pub(super) struct Args {
    /// Directory to write one page per command to [default: print forebay(1) instead]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = &args.dir else {
        say(page(command)?.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let cannot = |error: std::io::Error| UserError {
        message: format!("cannot write to `{}`: {error}", dir.display()),
        help: "choose another directory with --dir".into(),
    };
    std::fs::create_dir_all(dir).map_err(cannot)?;
    for command in all(command) {
        let name = command.get_display_name().unwrap_or("forebay").to_owned();
        std::fs::write(dir.join(format!("{name}.1")), page(command)?).map_err(cannot)?;
    }
    say(&format!("Wrote the man pages to {}.", dir.display()));
    Ok(ExitCode::SUCCESS)
}

/// A command and all its subcommands.
fn all(command: Command) -> Vec<Command> {
    let below: Vec<Command> = command.get_subcommands().cloned().flat_map(all).collect();
    [vec![command], below].concat()
}

fn page(command: Command) -> miette::Result<String> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text).map_err(super::report)?;
    // clap_mangen's title for the text after the options.
    Ok(String::from_utf8_lossy(&text).replace(".SH EXTRA", ".SH NOTES"))
}
