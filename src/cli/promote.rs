//! `forebay promote`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    UserError,
    admin_client::{AdminAddress, carry_out},
    say,
    source::load_file,
};
use crate::control::Reloaded;

/// Put the staging configuration into effect for all requests: its file replaces the configuration file, and the running
/// Forebay reloads.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The previous file is kept beside the configuration, with `.previous` at the end of its name. If the running\n\
    Forebay does not accept the new configuration, the previous file comes back, and the exit code is 1."
)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminAddress,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let path = args.admin.file();
    let config = load_file(&path)?;
    let staging = config.staging.as_ref().ok_or_else(|| UserError {
        message: format!("`{}` has no table [staging]", path.display()),
        help:
            "add one with the file to promote, or edit the configuration and run `forebay reload`"
                .into(),
    })?;
    if directory(&path) != directory(&staging.file) {
        let help =
            "move it beside the configuration file: the paths in it are relative to its directory";
        let message = format!("`{}` lies in another directory", staging.file.display());
        return Err(UserError { message, help: help.into() }.into());
    }
    let address = args.admin.resolve()?;
    let previous = promote(&path, &staging.file).map_err(|error| UserError {
        message: format!("cannot replace `{}`: {error}", path.display()),
        help: "run this as a user who may write the file and its directory".into(),
    })?;
    let undone = |error: UserError| {
        let undone = fs::rename(&previous, &path);
        let state = match &undone {
            Ok(()) => format!("`{}` is as it was", path.display()),
            Err(error) => format!("`{}` could not be restored: {error}", path.display()),
        };
        UserError {
            message: format!("nothing was promoted, and {state}:\n{}", error.message),
            help: error.help,
        }
    };
    let refused = |error: &UserError| UserError {
        message: error.message.clone(),
        help: "correct the staging file, then run this again".into(),
    };
    let reloaded: Reloaded = carry_out(address, "/reload", refused).map_err(undone)?;
    for note in reloaded.notes() {
        say(&format!("warning: {note}"));
    }
    say(&format!(
        "promoted {}: all requests use it; the previous configuration is in {}",
        staging.file.display(),
        previous.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Replaces a configuration file. Returns where the previous one is.
fn promote(path: &Path, staged: &Path) -> io::Result<PathBuf> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (new, previous) = (beside(".new"), beside(".previous"));
    fs::copy(staged, &new)?;
    fs::set_permissions(&new, fs::metadata(path)?.permissions())?;
    fs::File::open(&new)?.sync_all()?;
    fs::copy(path, &previous)?;
    fs::rename(&new, path)?;
    Ok(previous)
}

fn directory(file: &Path) -> Option<PathBuf> {
    let directory = file
        .parent()
        .map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    fs::canonicalize(directory?).ok()
}
