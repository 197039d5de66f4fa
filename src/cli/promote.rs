//! `forebay promote`.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    UserError,
    admin_client::{AdminAddress, call, carry_out},
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
    /// Promote it although it serves no requests now, because it ended or is not loaded
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let file = args.admin.file();
    let config = load_file(&file)?;
    let staging = config.staging.as_ref().ok_or_else(|| UserError {
        message: format!("`{}` has no table [staging]", file.display()),
        help:
            "add one with the file to promote, or edit the configuration and run `forebay reload`"
                .into(),
    })?;
    if directory(&file) != directory(&staging.file) {
        let help =
            "move it beside the configuration file: the paths in it are relative to its directory";
        let message = format!("`{}` lies in another directory", staging.file.display());
        return Err(UserError { message, help: help.into() }.into());
    }
    let address = args.admin.resolve()?;
    if !args.force && !is_active(address)? {
        let message = "the staging configuration serves no requests: it ended because they failed, or it is not loaded";
        let help = "look into the log, correct it and run `forebay reload`; --force promotes it all the same";
        return Err(UserError { message: message.into(), help: help.into() }.into());
    }
    let promotion = Promotion::new(&file, &staging.file);
    let promotion = promotion.map_err(|error| UserError {
        message: format!("cannot replace `{}`: {error}", file.display()),
        help: "run this as a user who may write the file and its directory".into(),
    })?;
    let mut is_refused = false;
    let refused = |error: &UserError| {
        is_refused = true;
        UserError { message: error.message.clone(), help: error.help.clone() }
    };
    let reloaded: Reloaded = match carry_out(address, "/reload", refused) {
        Ok(reloaded) => reloaded,
        Err(error) if is_refused => return Err(promotion.undo(&error).into()),
        Err(error) => return Err(promotion.uncertain(&error).into()),
    };
    for note in reloaded.notes() {
        say(&format!("warning: {note}"));
    }
    say(&format!(
        "promoted {}: all requests use it; the previous configuration is in {}",
        staging.file.display(),
        promotion.previous.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Whether the running Forebay serves requests by its staging configuration.
fn is_active(address: SocketAddr) -> miette::Result<bool> {
    let metrics = call(address, ("GET", "/metrics"), "")?;
    Ok(metrics.lines().any(|line| line == "forebay_staging_active 1"))
}

/// A configuration file that was replaced.
struct Promotion {
    file: PathBuf,
    /// Where the file is that was replaced.
    previous: PathBuf,
}

impl Promotion {
    /// Replaces a configuration file. The old one stays the same file, with its owner and its mode.
    fn new(file: &Path, staged: &Path) -> io::Result<Self> {
        // What a link leads to is replaced, not the link.
        let file = fs::canonicalize(file)?;
        let beside = |ending: &str| {
            let mut name = file.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let (new, previous) = (beside(".new"), beside(".previous"));
        let old = fs::metadata(&file)?;
        fs::copy(staged, &new)?;
        fs::set_permissions(&new, old.permissions())?;
        if fs::metadata(&new)?.uid() != old.uid() || fs::metadata(&new)?.gid() != old.gid() {
            chown(&new, Some(old.uid()), Some(old.gid()))?;
        }
        fs::File::open(&new)?.sync_all()?;
        match fs::remove_file(&previous) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::hard_link(&file, &previous)?,
        }
        fs::rename(&new, &file)?;
        if let Some(directory) = file.parent() {
            fs::File::open(directory)?.sync_all()?;
        }
        Ok(Self { file, previous })
    }

    /// Brings the old file back because Forebay did not accept the new one.
    fn undo(&self, error: &UserError) -> UserError {
        let file = self.file.display();
        let state = match fs::rename(&self.previous, &self.file) {
            Ok(()) => format!("`{file}` is as it was"),
            Err(error) => format!("`{file}` could not be restored: {error}"),
        };
        UserError {
            message: format!("nothing was promoted, and {state}:\n{}", error.message),
            help: "correct the staging file, then run this again".into(),
        }
    }

    fn uncertain(&self, error: &UserError) -> UserError {
        let (file, previous) = (self.file.display(), self.previous.display());
        UserError {
            message: format!(
                "`{file}` is the staging configuration now, but it is not known whether Forebay uses it:\n{}",
                error.message
            ),
            help: format!(
                "run `forebay reload`; `mv {previous} {file}` brings the previous one back"
            ),
        }
    }
}

fn directory(file: &Path) -> Option<PathBuf> {
    let parent = file.parent()?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    fs::canonicalize(parent).ok()
}
