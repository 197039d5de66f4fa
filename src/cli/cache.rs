//! `forebay cache`.

use std::{path::PathBuf, process::ExitCode};

use bytesize::ByteSize;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    UserError, say,
    source::{ConfigFile, load_file},
};
use crate::cache::disk::{Inspection, clear, inspect};

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
    Verify(Directory),
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

impl Directory {
    fn path(&self) -> miette::Result<PathBuf> {
        if let Some(dir) = &self.dir {
            return Ok(dir.clone());
        }
        let file = self.file.required()?;
        match load_file(&file)?.disk {
            Some(disk) => Ok(disk.path),
            None => Err(UserError {
                message: format!("`{}` has no disk cache", file.display()),
                help: "name a directory with --dir, or add [cache.disk]".into(),
            })?,
        }
    }
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    match &args.action {
        Action::Stat(directory) => report(directory, false),
        Action::Verify(directory) => report(directory, true),
        Action::Clear(directory) => {
            let path = directory.path()?;
            clear(&path)
                .map_err(|error| UserError { message: error.to_string(), help: error.advice() })?;
            say(&format!("Emptied the disk cache in {}", path.display()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn report(directory: &Directory, verify: bool) -> miette::Result<ExitCode> {
    let path = directory.path()?;
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} of {len} files") {
        bar.set_style(style);
    }
    let inspected = inspect(&path, verify, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let found = inspected.map_err(|error| UserError {
        message: error.to_string(),
        help: "name the directory of a disk cache with --dir; its user or root may read it".into(),
    })?;
    say(&text(&found, verify));
    let is_good = found.damaged == 0 && found.unreadable == 0;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(found: &Inspection, verify: bool) -> String {
    let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
    let mut lines = vec![
        format!("files        {}, {}", found.segments, size(found.bytes)),
        format!("in use       {}", size(found.current)),
        format!("responses    {}", found.responses),
        format!("slices       {}", found.slices),
        format!("compressed   {}", found.encoded),
        format!("obsolete     {} records, until their files are evicted", found.obsolete),
    ];
    if verify {
        lines.push(format!("damaged      {}", found.damaged));
    }
    if found.unreadable > 0 {
        lines.push(format!("unreadable   {} files", found.unreadable));
    }
    if found.damaged + found.unreadable > 0 {
        lines.push("Damaged records are misses: Forebay fetches them again.".to_owned());
    }
    lines.join("\n")
}
