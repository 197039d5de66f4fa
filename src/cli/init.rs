//! `forebay init`.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{Mendable, doctor, import::write_new, report, say};
use crate::{
    clock::Clock,
    config::Config,
    doctor::{bucket_region, examine_origins},
    setup::{SYSTEMD_UNIT, Site, reading_policy},
};

/// Set up a bucket: writes the configuration, the rights it takes and Django's settings.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Asks for what no flag says; with --yes, and where nobody is at the keyboard, the rest is as usual."
)]
pub(super) struct Args {
    /// Bucket to serve
    #[arg(long)]
    bucket: Option<String>,
    /// The bucket's region
    #[arg(long)]
    region: Option<String>,
    /// S3-compatible store in the place of AWS
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Put the bucket into the path, not into the host name
    #[arg(long)]
    path_style: bool,
    /// Host that viewers will use
    #[arg(long, value_name = "HOST")]
    domain: Option<String>,
    /// TLS certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<String>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<String>,
    /// Address for plain HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    listen: String,
    /// Address for HTTPS, with a certificate
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    listen_tls: String,
    /// Write a systemd unit, too
    #[arg(long)]
    systemd: bool,
    /// Write a compose file, too
    #[arg(long)]
    compose: bool,
    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
    /// Do not look at the bucket
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(report)?;
    let mut questions = Questions { asks: !args.yes && std::io::stdin().is_terminal() };
    let site = site(args, &mut questions, &runtime)?;
    let systemd = args.systemd || questions.confirm("Write a systemd unit, too?")?;
    let compose = args.compose || questions.confirm("Write a compose file, too?")?;
    let config = site.config(&args.dir)?;
    let written = write(args, &site, &config, (systemd, compose))?;
    say(&format!("Written: {}", written.join(", ")));
    if !args.offline {
        let findings = runtime.block_on(examine_origins(&config, None, &Clock::system()));
        say(&format!("\n{}", doctor::text(&findings)));
    }
    say(&format!("\n{}", next_steps(args, &site, systemd, compose)));
    Ok(ExitCode::SUCCESS)
}

/// What is to be served, by flags and answers.
fn site(
    args: &Args,
    questions: &mut Questions,
    runtime: &tokio::runtime::Runtime,
) -> miette::Result<Site> {
    let bucket = match &args.bucket {
        Some(bucket) => bucket.clone(),
        None => questions.ask("Bucket", None)?.ok_or_else(|| Mendable {
            message: "there is no bucket to set up".into(),
            help: "name it with --bucket".into(),
        })?,
    };
    let endpoint = match &args.endpoint {
        Some(url) => Some(url.clone()),
        None if args.region.is_some() => None,
        None => questions.ask("URL of the store, if it is not AWS", None)?,
    };
    let region = match &args.region {
        Some(region) => region.clone(),
        None => {
            let told = match &endpoint {
                None if !args.offline => runtime.block_on(bucket_region(&bucket)),
                _ => None,
            };
            let usual = told.unwrap_or_else(|| "us-east-1".to_owned());
            questions.ask("Region", Some(&usual))?.unwrap_or(usual)
        }
    };
    let domain = match &args.domain {
        Some(domain) => Some(domain.clone()),
        None => questions.ask("Host that viewers will use, if it is known", None)?,
    };
    Ok(Site {
        bucket,
        region,
        endpoint,
        path_style: args.path_style,
        domain,
        certificate: args.certificate.clone().zip(args.key.clone()),
        listen: args.listen.clone(),
        listen_tls: args.listen_tls.clone(),
    })
}

/// Writes the files; their names.
fn write(
    args: &Args,
    site: &Site,
    config: &Config,
    (systemd, compose): (bool, bool),
) -> miette::Result<Vec<String>> {
    let policy = reading_policy(config).unwrap_or_default();
    let policy = serde_json::to_string_pretty(&policy).map_err(report)? + "\n";
    let mut files = vec![
        ("forebay.toml", site.toml()),
        ("forebay-iam-policy.json", policy),
        ("forebay_django.py", site.django()),
    ];
    files.extend(systemd.then(|| ("forebay.service", SYSTEMD_UNIT.to_owned())));
    files.extend(compose.then(|| ("compose.yaml", Site::compose().to_owned())));
    std::fs::create_dir_all(&args.dir).map_err(report)?;
    // All or none: what is there already is found before the first is written.
    let taken = files.iter().map(|(name, _)| args.dir.join(name)).find(|path| path.exists());
    if let Some(path) = taken.filter(|_| !args.force) {
        let message = format!("`{}` is there already", path.display());
        let help = "choose another folder with --dir, or overwrite it with --force".into();
        return Err(Mendable { message, help }.into());
    }
    let mut written = Vec::new();
    for (name, text) in files {
        let path = args.dir.join(name);
        write_new(&path, &text, args.force)?;
        written.push(shown(&path));
    }
    Ok(written)
}

fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

fn next_steps(args: &Args, site: &Site, systemd: bool, compose: bool) -> String {
    let file = |name: &str| shown(&args.dir.join(name));
    let mut steps = Vec::new();
    if site.endpoint.is_none() {
        steps.push(format!(
            "Let a user or role read the bucket, and give Forebay its credentials:\n     \
             aws iam put-user-policy --user-name USER --policy-name forebay --policy-document file://{}",
            file("forebay-iam-policy.json")
        ));
    }
    steps.push(format!(
        "Look whether all is well:\n     forebay doctor --config {}",
        file("forebay.toml")
    ));
    steps.push(if systemd {
        format!(
            "Serve (credentials, if the machine has no role, go into /etc/forebay/environment):\n     install -D -m 644 {} /etc/forebay/forebay.toml && install -m 644 {} /etc/systemd/system/ && systemctl enable --now forebay",
            file("forebay.toml"),
            file("forebay.service")
        )
    } else if compose {
        format!("Serve:\n     docker compose -f {} up -d", file("compose.yaml"))
    } else {
        format!("Serve:\n     forebay serve --config {}", file("forebay.toml"))
    });
    if let (Some(domain), None) = (&site.domain, &site.certificate) {
        steps.push(format!(
            "Let {domain} lead here by HTTPS: with a load balancer before {}, or with --certificate and --key",
            site.listen
        ));
    }
    steps.push(format!("Put {} into Django's settings.", file("forebay_django.py")));
    let numbered = steps.iter().enumerate().map(|(place, step)| format!("  {}. {step}", place + 1));
    format!("Next:\n{}", numbered.collect::<Vec<_>>().join("\n"))
}

/// Asks whoever is at the keyboard.
struct Questions {
    asks: bool,
}

impl Questions {
    /// An answer, or what is usual; `None` where there is neither.
    fn ask(&mut self, question: &str, usual: Option<&str>) -> miette::Result<Option<String>> {
        let usual = usual.map(str::to_owned);
        if !self.asks {
            return Ok(usual);
        }
        let hint = usual.as_ref().map(|usual| format!(" [{usual}]")).unwrap_or_default();
        let mut out = std::io::stdout();
        write!(out, "{question}{hint}: ").and_then(|()| out.flush()).map_err(report)?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(report)?;
        Ok(Some(line.trim().to_owned()).filter(|line| !line.is_empty()).or(usual))
    }

    fn confirm(&mut self, question: &str) -> miette::Result<bool> {
        let answer = self.ask(&format!("{question} y/n"), Some("n"))?;
        Ok(answer.is_some_and(|answer| matches!(&*answer.to_ascii_lowercase(), "y" | "yes")))
    }
}
