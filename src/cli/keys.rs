//! `forebay keys`.

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Subcommand, ValueEnum};

use super::{UserError, say};
use crate::{
    access::signed::{KeyKind, NewKeyPair},
    setup::Site,
};

/// Generate keys for signed URLs and signed cookies.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate a key pair, and print the lines for forebay.toml and for Django
    New(New),
}

#[derive(Debug, clap::Args)]
struct New {
    /// Kind of key; django-storages signs with RSA only
    #[arg(long, value_enum, default_value = "rsa")]
    kind: Kind,
    /// ID of the key [default: a new one in CloudFront's format]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Directory to write to
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// RSA, 2,048 bits
    Rsa,
    /// ECDSA, P-256
    Ecdsa,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let Command::New(args) = &args.command;
    let id = args.id.clone().unwrap_or_else(|| Site::new_id('K'));
    if id.is_empty()
        || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    {
        return Err(UserError {
            message: format!("--id: `{id}` is not a valid key ID"),
            help: "use letters, digits, `-` and `_`, such as K2JCJMDEHXQW5F".into(),
        }
        .into());
    }
    let kind = match args.kind {
        Kind::Rsa => KeyKind::Rsa,
        Kind::Ecdsa => KeyKind::Ecdsa,
    };
    let pair = NewKeyPair::generate(kind).ok_or_else(|| UserError {
        message: "cannot generate a key: this machine's random number generator failed".into(),
        help: "generate one with `openssl genrsa -out private_key.pem 2048`".into(),
    })?;
    std::fs::create_dir_all(&args.dir).map_err(|error| cannot_write(&args.dir, &error))?;
    let (private, public) = (args.dir.join("private_key.pem"), args.dir.join("public_key.pem"));
    // The public key is written last, so that it exists only with its private key.
    write_new(&private, &pair.private, 0o600)?;
    write_new(&public, &pair.public, 0o644)?;
    let shown = |path: &Path| path.strip_prefix(".").unwrap_or(path).display().to_string();
    say(&format!(
        "Wrote the private key {private} and the public key {public}. Only the signing application should be able to read the private key.\n\n\
         In forebay.toml, add the public key to a key group …\n\n\
         [[key_group]]\nname = \"signers\"\n[key_group.public_keys]\n{id} = \"\"\"\n{pem}\"\"\"\n\n\
         … and, in the section of each behavior whose objects require a signature:\n\n\
         trusted_key_groups = [\"signers\"]\n",
        private = shown(&private),
        public = shown(&public),
        pem = pair.public,
    ));
    say(&match args.kind {
        Kind::Rsa => format!(
            "In Django's settings, after `import pathlib`, in the OPTIONS of django-storages:\n\n\
             \"cloudfront_key_id\": \"{id}\",\n\"cloudfront_key\": pathlib.Path(\"{}\").read_bytes(),\n",
            std::path::absolute(&private).unwrap_or(private.clone()).display()
        ),
        Kind::Ecdsa => {
            "django-storages cannot sign with ECDSA keys: use --kind rsa for Django.\n".into()
        }
    });
    say(&format!(
        "Test it with the URL of an object that requires a signature, exactly as viewers request it:\n\n\
         curl -s -o /dev/null -w '%{{http_code}}\\n' \"$(forebay sign http://127.0.0.1:8080/PATH --key {} --key-pair-id {id})\"",
        shown(&private)
    ));
    Ok(ExitCode::SUCCESS)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), UserError> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> UserError {
    UserError {
        message: format!("cannot write `{}`: {error}", path.display()),
        help: "choose another directory with --dir; existing keys are never overwritten".into(),
    }
}
