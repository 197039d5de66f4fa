//! `forebay import cloudfront`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use serde_json::json;

use super::{UserError, report, say};
use crate::{
    config::Config,
    import::{DocumentError, Documents, Import, Note, STAGING_FILE, Tls, decode, import},
    setup,
};

/// Convert another CDN's configuration.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    source: ImportSource,
}

#[derive(Debug, Subcommand)]
enum ImportSource {
    /// Write forebay.toml from CloudFront's documents, and report how each setting was converted
    #[command(
        after_help = "Documents are the output of these commands, saved as files or in one directory:\n\
        \x20 aws cloudfront get-distribution-config --id E… > E….json\n\
        \x20 aws cloudfront get-cache-policy --id …       (and get-origin-request-policy,\n\
        \x20 get-response-headers-policy, get-key-group, get-public-key, get-origin-access-control,\n\
        \x20 get-continuous-deployment-policy)\n\
        Lists (such as list-cache-policies) also work, except for distributions.\n\
        The code of CloudFront Functions, by `aws cloudfront get-function --name NAME --stage LIVE NAME.js`,\n\
        becomes rules if it is one of the common forms.\n\
        The exit code is 1 if the file needs more work before Forebay can serve with it."
    )]
    Cloudfront(CloudFront),
}

#[derive(Debug, clap::Args)]
struct CloudFront {
    /// Documents, or directories of documents
    #[arg(required = true, value_name = "DIR|FILE")]
    documents: Vec<PathBuf>,
    /// File to write
    #[arg(long, value_name = "FILE", default_value = "forebay.toml")]
    output: PathBuf,
    /// TLS certificate to serve with, as PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// TLS is terminated by a load balancer in front of Forebay
    #[arg(long, conflicts_with = "certificate")]
    tls_ends_before: bool,
    /// Overwrite the file
    #[arg(long)]
    force: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let ImportSource::Cloudfront(args) = &args.source;
    let documents = Documents::read(&files(&args.documents)?).map_err(|error| mendable(&error))?;
    let tls = match (&args.certificate, &args.key) {
        (Some(certificate), Some(key)) => Tls::Here(absolute(certificate), absolute(key)),
        _ if args.tls_ends_before => Tls::Before,
        _ => Tls::Unknown,
    };
    let import = import(&documents, &tls);
    write_new(&args.output, &import.toml, args.force)?;
    let staging =
        import.staging.as_ref().map(|text| (args.output.with_file_name(STAGING_FILE), text));
    if let Some((file, text)) = &staging {
        write_new(file, text, args.force)?;
    }
    if args.json {
        let policy = import.config.as_ref().and_then(setup::reading_policy);
        let doors = import.config.as_ref().map(crate::config::Config::open_doors);
        say(&json!({
            "report": import.report, "open_doors": doors.unwrap_or_default(), "iam_policy": policy,
        })
        .to_string());
    } else {
        say(&text(&import, &args.output)?);
    }
    Ok(if import.report.to_do.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads each document; returns paths and contents.
fn files(given: &[PathBuf]) -> miette::Result<Vec<(String, String)>> {
    let mut paths = Vec::new();
    for path in given {
        let unreadable = |error| UserError {
            message: format!("cannot read `{}`: {error}", path.display()),
            help: "pass the directory or the files that contain CloudFront's documents".into(),
        };
        if !path.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            inside.extend(
                Some(file).filter(|f| f.extension().is_some_and(|e| e == "json" || e == "js")),
            );
        }
        inside.sort();
        paths.extend(inside);
    }
    let read = |path: PathBuf| {
        let unreadable = |reason: &dyn std::fmt::Display| UserError {
            message: format!("cannot read `{}`: {reason}", path.display()),
            help:
                "save a document there: `aws cloudfront get-distribution-config --id ID > ID.json`"
                    .into(),
        };
        let bytes = std::fs::read(&path).map_err(|error| unreadable(&error))?;
        let text = decode(&bytes).ok_or_else(|| unreadable(&"it is neither UTF-8 nor UTF-16"))?;
        Ok((path.display().to_string(), text))
    };
    paths.into_iter().map(read).collect()
}

fn mendable(error: &DocumentError) -> UserError {
    let help = match error {
        DocumentError::NotJson { .. } => "save it as the AWS CLI prints it with `--output json`",
        DocumentError::Empty { .. } => {
            "the command that should have written it failed: run it again, or delete the file"
        }
        _ => {
            "save distributions as `aws cloudfront get-distribution-config --id ID > ID.json` prints them"
        }
    };
    UserError { message: error.to_string(), help: help.to_owned() }
}

/// The absolute path, valid from any directory.
pub(super) fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Writes a new file. Overwrites an existing one only with `force`.
pub(super) fn write_new(path: &Path, text: &str, force: bool) -> miette::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).truncate(true);
    let options = if force { options.create(true) } else { options.create_new(true) };
    let file = options.open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => UserError {
            message: format!("`{}` already exists", path.display()),
            help: "choose another file, or overwrite it with --force".into(),
        },
        _ => UserError {
            message: format!("cannot write `{}`: {error}", path.display()),
            help: "choose another file".into(),
        },
    })?;
    std::io::Write::write_all(&mut &file, text.as_bytes()).map_err(report)
}

/// The human-readable report.
fn text(import: &Import, output: &Path) -> miette::Result<String> {
    let mut text = format!("Wrote {}.\n", output.display());
    if import.staging.is_some() {
        let _ = writeln!(text, "Wrote {STAGING_FILE} beside it, for the staging distribution.");
    }
    let report = &import.report;
    section(&mut text, "Carried over exactly", &report.exact, " → ");
    section(&mut text, "Carried over with differences", &report.different, "\n    ");
    section(&mut text, "Not carried over", &report.dropped, "\n    ");
    let config = import.config.as_ref();
    let doors = config.map(Config::open_doors).unwrap_or_default();
    let doubtful = config.map(Config::doubtful_patterns).unwrap_or_default();
    for (title, lines) in [
        ("Ways to bypass signatures", &doors),
        ("Path patterns to look at", &doubtful),
        ("To do before serving", &report.to_do),
    ] {
        if !lines.is_empty() {
            let _ = writeln!(text, "\n{title}");
            for line in lines {
                let _ = writeln!(text, "  - {line}");
            }
        }
    }
    if let Some(policy) = import.config.as_ref().and_then(setup::reading_policy) {
        let policy = serde_json::to_string_pretty(&policy).map_err(super::report)?;
        let _ = write!(
            text,
            "\nCloudFront reads the bucket as an AWS service, and Forebay cannot use that identity. Give an AWS user or role\n\
             these permissions, and give Forebay its credentials (add kms:Decrypt for buckets with SSE-KMS):\n{policy}\n"
        );
    }
    Ok(text.trim_end().to_owned())
}

fn section(text: &mut String, title: &str, notes: &[Note], between: &str) {
    if !notes.is_empty() {
        let _ = writeln!(text, "\n{title}");
    }
    for Note { path, text: what } in notes {
        let _ = writeln!(text, "  {path}{between}{what}");
    }
}
