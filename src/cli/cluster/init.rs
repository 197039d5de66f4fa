//! `forebay cluster init`.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    base::clock::{Clock, Timestamp},
    cli::{UserError, say},
    cluster::ClusterOptions,
    setup::CertificatePair,
};

#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "The first time, this also makes the private authority that signs the certificates. To add a node later,\n\
    run the command again in the same directory."
)]
pub(super) struct Args {
    /// Names of nodes, as in `cluster.node`
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// Directory to write to
    #[arg(long, value_name = "DIR", default_value = "cluster")]
    dir: PathBuf,
    /// Replace the certificates of these nodes
    #[arg(long)]
    renew: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    for node in &args.nodes {
        let is_name = (1..=ClusterOptions::LONGEST_NAME).contains(&node.len())
            && node.chars().all(ClusterOptions::is_in_name)
            && ClusterOptions::is_certifiable(node);
        if !is_name || node.eq_ignore_ascii_case("ca") {
            let longest = ClusterOptions::LONGEST_NAME;
            Err(UserError {
                message: format!("`{node}` cannot be the name of a node"),
                help: format!(
                    "use 1 to {longest} letters, digits, `-` and `_`, with a letter at the beginning; `ca` is the authority"
                ),
            })?;
        }
    }
    fs::create_dir_all(&args.dir).map_err(|error| unusable(&args.dir, &error))?;
    let paths: Vec<[PathBuf; 2]> = args.nodes.iter().map(|node| paths(&args.dir, node)).collect();
    if let Some(missing) = paths.iter().flatten().find(|path| args.renew && !path.exists()) {
        Err(UserError {
            message: format!("`{}` does not exist, so it cannot be renewed", missing.display()),
            help: "to make it, leave out --renew; to renew others, name their directory with --dir"
                .into(),
        })?;
    }
    if let Some(known) = paths.iter().flatten().find(|path| path.exists() && !args.renew) {
        Err(UserError {
            message: format!("`{}` exists already", known.display()),
            help: "to replace it, add --renew".into(),
        })?;
    }
    let now = Clock::system().now();
    let authority = authority(args, now)?;
    for (node, [certificate, key]) in args.nodes.iter().zip(&paths) {
        let pair = authority.issue(node, now).map_err(|error| UserError {
            message: format!(
                "cannot sign a certificate with `{}`: {error}",
                args.dir.join("ca.pem").display()
            ),
            help: "use the `ca.pem` and `ca-key.pem` that this command wrote, or another --dir"
                .into(),
        })?;
        write(certificate, &pair.certificate, 0o644)?;
        write(key, &pair.key, 0o600)?;
    }
    say(&next_steps(args));
    Ok(ExitCode::SUCCESS)
}

/// The files of a certificate and its key.
fn paths(dir: &Path, name: &str) -> [PathBuf; 2] {
    [dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem"))]
}

/// The authority in the directory. A new one is made only if no certificate is renewed.
fn authority(args: &Args, now: Timestamp) -> Result<CertificatePair, UserError> {
    let [certificate, key] = paths(&args.dir, "ca");
    match (fs::read_to_string(&certificate), fs::read_to_string(&key)) {
        (Ok(certificate), Ok(key)) => Ok(CertificatePair { certificate, key }),
        (Err(one), Err(other))
            if !args.renew
                && [&one, &other].iter().all(|error| error.kind() == io::ErrorKind::NotFound) =>
        {
            let made = CertificatePair::of_authority(now).map_err(|error| UserError {
                message: format!("cannot make a key: {error}"),
                help: "report this as a bug".into(),
            })?;
            write(&key, &made.key, 0o600)?;
            write(&certificate, &made.certificate, 0o644)?;
            Ok(made)
        }
        (Err(error), _) => Err(without_authority(&certificate, &error)),
        (_, Err(error)) => Err(without_authority(&key, &error)),
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), UserError> {
    let open = || {
        // The mode is set only if the file is new.
        let _ = fs::remove_file(path);
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
    };
    let written = open().and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| unusable(path, &error))
}

fn without_authority(path: &Path, error: &io::Error) -> UserError {
    UserError {
        message: format!("cannot use `{}`: {error}", path.display()),
        help: "put the ca.pem and ca-key.pem there that signed the certificates of the other nodes"
            .into(),
    }
}

fn unusable(path: &Path, error: &io::Error) -> UserError {
    UserError {
        message: format!("cannot use `{}`: {error}", path.display()),
        help: "choose another directory with --dir".into(),
    }
}

fn next_steps(args: &Args) -> String {
    let dir = args.dir.display();
    if args.renew {
        return format!(
            "The new certificates are in {dir}, valid for 10 years. Replace NODE.pem and NODE-key.pem on each node:\n\
            Forebay reads them within ten seconds."
        );
    }
    format!(
        "Certificates are in {dir}, valid for 10 years. Copy ca.pem, NODE.pem and NODE-key.pem to each node, beside its\n\
        forebay.toml; the user that runs Forebay must be able to read them. Keep ca-key.pem where no node can read it. Then add this to `[cluster]` of each node:\n\n  \
        peer_listen = \"0.0.0.0:8444\"\n  \
        peer_certificate = \"{{node}}.pem\"\n  \
        peer_key = \"{{node}}-key.pem\"\n  \
        peer_ca = \"ca.pem\"\n\nForebay replaces {{node}} by the name of the node: `node` in `[cluster]`, or the machine's host name.\n"
    )
}
