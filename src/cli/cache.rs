//! `forebay cache`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use bytesize::ByteSize;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    UserError, say,
    source::{ConfigFile, load_file},
};
use crate::cache::{
    disk::{DiskOptions, EncryptionKeys, Inspection, clear, count, verify},
    store::check_purges,
};

/// Look at a disk cache, verify it, or empty it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Count what is stored; also while Forebay runs
    Stat(Directory),
    /// Read everything and verify its checksums; also while Forebay runs
    Verify(Verify),
    /// Remove everything; Forebay must be stopped
    Clear(Directory),
}

#[derive(Debug, clap::Args)]
struct Directory {
    /// Directory of the disk cache [default: `cache.disk.path` of the configuration]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, clap::Args)]
struct Verify {
    #[command(flatten)]
    directory: Directory,
    /// File with the keys of an encrypted disk cache [default: `cache.disk.encryption_key_file` of the configuration]
    #[arg(long, value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
}

impl Directory {
    fn path(&self) -> miette::Result<PathBuf> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(self.configured()?.path),
        }
    }

    /// The disk cache of the configuration.
    fn configured(&self) -> miette::Result<DiskOptions> {
        let file = self.file.required()?;
        match load_file(&file)?.disk {
            Some(disk) => Ok(disk),
            None => Err(UserError {
                message: format!("`{}` has no disk cache", file.display()),
                help: "name a directory with --dir, or add [cache.disk]".into(),
            })?,
        }
    }
}

impl Verify {
    fn keys(&self) -> miette::Result<EncryptionKeys> {
        let Directory { dir, file } = &self.directory;
        let file = match &self.encryption_key_file {
            Some(file) => Some(file.clone()),
            None if dir.is_none() || file.path().is_some() => {
                self.directory.configured()?.encryption_key_file
            }
            None => None,
        };
        let keys =
            file.map_or_else(|| Ok(EncryptionKeys::default()), |file| EncryptionKeys::read(&file));
        Ok(keys.map_err(|error| UserError { message: error.to_string(), help: error.advice() })?)
    }
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    match &args.action {
        Action::Stat(directory) => report(&directory.path()?, None),
        Action::Verify(args) => report(&args.directory.path()?, Some(&args.keys()?)),
        Action::Clear(directory) => {
            let path = directory.path()?;
            let others = clear(&path)
                .map_err(|error| UserError { message: error.to_string(), help: error.advice() })?;
            say(&format!("Emptied the disk cache in {}", path.display()));
            if !others.is_empty() {
                let others = others.join(", ");
                say(&format!(
                    "Remove the other files, or Forebay will not use this directory again: {others}"
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reports what a directory has. With keys, everything is verified.
fn report(path: &Path, keys: Option<&EncryptionKeys>) -> miette::Result<ExitCode> {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} of {len} files") {
        bar.set_style(style);
    }
    let progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let inspected = match keys {
        Some(keys) => verify(path, keys, progress),
        None => count(path, progress),
    };
    bar.finish_and_clear();
    let found = inspected
        .map_err(|error| UserError { message: error.to_string(), help: error.advice().into() })?;
    say(&text(&found, keys.is_some()));
    let distrusted = match keys {
        Some(keys) => check_purges(path, keys).map_err(|error| UserError {
            message: format!("cannot read the log of purges: {error}"),
            help: "run this as the user that runs Forebay, or as root".into(),
        })?,
        None => None,
    };
    if let Some(why) = &distrusted {
        say(&format!("At the next start, Forebay discards all of this, because {why}."));
    }
    let is_good = found.damaged == 0 && found.unreadable == 0 && distrusted.is_none();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(found: &Inspection, verify: bool) -> String {
    let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
    let mut lines = vec![
        format!("files        {}, {}", found.segments, size(found.bytes)),
        format!("content      {}", size(found.current)),
        format!("responses    {}", found.responses),
        format!("slices       {}", found.slices),
        format!("compressed   {}", found.encoded),
        format!("obsolete     {}", found.obsolete),
    ];
    if verify {
        lines.push(format!("damaged      {}", found.damaged));
    }
    if found.unreadable > 0 {
        lines.push(format!("unreadable   {} of the files", found.unreadable));
    }
    if found.damaged + found.unreadable > 0 {
        lines.push("Damaged records are misses: Forebay fetches them again.".to_owned());
    }
    lines.join("\n")
}
