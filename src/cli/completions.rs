//! `forebay completions`.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// Print shell completions.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    forebay completions bash > /etc/bash_completion.d/forebay\n  \
    forebay completions zsh > /usr/local/share/zsh/site-functions/_forebay\n  \
    forebay completions fish > ~/.config/fish/completions/forebay.fish"
)]
pub(super) struct Args {
    /// Shell to print completions for
    shell: Shell,
}

pub(super) fn run(args: &Args) -> ExitCode {
    // Written to memory first: the generator panics if a pipe closes.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "forebay", &mut text);
    super::say(String::from_utf8_lossy(&text).trim_end());
    ExitCode::SUCCESS
}
