//! `forebay init`.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    Mendable, doctor,
    import::{absolute, write_new},
    report, say,
};
use crate::{
    base::clock::Clock,
    config::Config,
    doctor::{Verdict, bucket_region, examine},
    setup::{SYSTEMD_UNIT, Site, reading_policy},
};

/// Set up a bucket: writes the configuration, its IAM policy and Django's settings.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prompts for values that no flag sets. With --yes, or without a terminal, uses defaults."
)]
pub(super) struct Args {
    /// Bucket to serve
    #[arg(long)]
    bucket: Option<String>,
    /// The bucket's region
    #[arg(long)]
    region: Option<String>,
    /// S3-compatible store to use instead of AWS
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Put the bucket's name in the path instead of the host name
    #[arg(long)]
    path_style: bool,
    /// Distribution ID, for invalidations; by default a new one in CloudFront's format
    #[arg(long, value_name = "ID")]
    distribution_id: Option<String>,
    /// Host that viewers will use
    #[arg(long, value_name = "HOST")]
    domain: Option<String>,
    /// TLS certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Address for plain HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    listen: String,
    /// Address for HTTPS, with a certificate
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    listen_tls: String,
    /// Also write a systemd unit
    #[arg(long)]
    systemd: bool,
    /// Also write a Compose file
    #[arg(long)]
    compose: bool,
    /// Directory to write to
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
    /// Do not prompt
    #[arg(long)]
    yes: bool,
    /// Do not connect to the bucket
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(report)?;
    untaken(args, (args.systemd, args.compose))?;
    let questions = Questions { asks: !args.yes && std::io::stdin().is_terminal() };
    let (site, config) = settle(args, questions, &runtime)?;
    let systemd = args.systemd || questions.confirm("Also write a systemd unit?")?;
    let compose = args.compose || questions.confirm("Also write a Compose file?")?;
    untaken(args, (systemd, compose))?;
    let written = write(args, &site, &config, (systemd, compose))?;
    say(&format!("Written: {}", written.join(", ")));
    let mut works = true;
    if !args.offline {
        let findings = runtime.block_on(examine(&config, None, &Clock::system()));
        works = findings.iter().all(|finding| finding.verdict != Verdict::Bad);
        say(&format!("\n{}", doctor::text(&findings)));
    }
    say(&format!("\n{}", next_steps(args, &site, systemd, compose)));
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the site from flags and prompts. Prompts again, with the answers as defaults, until it compiles.
fn settle(
    args: &Args,
    questions: Questions,
    runtime: &tokio::runtime::Runtime,
) -> miette::Result<(Site, Config)> {
    let mut before = Site::default();
    loop {
        let site = site(args, questions, runtime, &before)?;
        match site.config(&args.dir) {
            Ok(config) => return Ok((site, config)),
            // Prompting again cannot change what flags set.
            Err(faults) if questions.asks && site != before => {
                for fault in &faults.faults {
                    say(&format!("✖ {}", fault.message()));
                }
                before = site;
            }
            Err(faults) => return Err(faults.into()),
        }
    }
}

/// The site from flags, or from prompts if a flag is missing.
fn site(
    args: &Args,
    questions: Questions,
    runtime: &tokio::runtime::Runtime,
    before: &Site,
) -> miette::Result<Site> {
    let before_bucket = Some(before.bucket.as_str()).filter(|bucket| !bucket.is_empty());
    let bucket = match &args.bucket {
        Some(bucket) => bucket.clone(),
        None => questions.ask("Bucket", before_bucket)?.ok_or_else(|| Mendable {
            message: "there is no bucket to set up".into(),
            help: "name it with --bucket".into(),
        })?,
    };
    let endpoint = match &args.endpoint {
        Some(url) => Some(url.clone()),
        None if args.region.is_some() => None,
        None => questions.ask("URL of the store, if it is not AWS", before.endpoint.as_deref())?,
    };
    let region = match &args.region {
        Some(region) => region.clone(),
        None => {
            let told = match &endpoint {
                None if !args.offline => runtime.block_on(bucket_region(&bucket)),
                _ => None,
            };
            let before = Some(before.region.clone()).filter(|region| !region.is_empty());
            let usual = told.or(before).unwrap_or_else(|| "us-east-1".to_owned());
            questions.ask("Region", Some(&usual))?.unwrap_or(usual)
        }
    };
    let domain = match &args.domain {
        Some(domain) => Some(domain.clone()),
        None => {
            questions.ask("Host that viewers will use, if it is known", before.domain.as_deref())?
        }
    };
    let id = match &args.distribution_id {
        Some(id) => id.clone(),
        None => {
            let usual = if before.id.is_empty() { Site::new_id() } else { before.id.clone() };
            questions.ask("Distribution id", Some(&usual))?.unwrap_or(usual)
        }
    };
    // Users paste URLs from the browser.
    let host = |domain: String| {
        let host = domain.trim_start_matches("https://").trim_start_matches("http://");
        host.trim_end_matches('/').to_owned()
    };
    Ok(Site {
        id,
        bucket,
        region,
        endpoint,
        path_style: args.path_style,
        domain: domain.map(host),
        certificate: args
            .certificate
            .as_deref()
            .map(absolute)
            .zip(args.key.as_deref().map(absolute)),
        listen: args.listen.clone(),
        listen_tls: args.listen_tls.clone(),
    })
}

/// Fails if a file exists, unless forced. Runs before any prompt: `init` writes all files or none.
fn untaken(args: &Args, (systemd, compose): (bool, bool)) -> miette::Result<()> {
    let files = ["forebay.toml", "forebay-iam-policy.json", "forebay_django.py"];
    let more = [(systemd, "forebay.service"), (compose, "compose.yaml")];
    let more = more.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name);
    let mut paths = files.into_iter().chain(more).map(|name| args.dir.join(name));
    match paths.find(|path| path.exists()).filter(|_| !args.force) {
        None => Ok(()),
        Some(path) => Err(Mendable {
            message: format!("`{}` is there already", path.display()),
            help: "choose another folder with --dir, or overwrite it with --force".into(),
        })?,
    }
}

/// Writes the files and returns their names.
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
    std::fs::create_dir_all(&args.dir).map_err(|error| Mendable {
        message: format!("the folder `{}` cannot be made: {error}", args.dir.display()),
        help: "choose another with --dir".into(),
    })?;
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
    let policy = file("forebay-iam-policy.json");
    steps.push(if site.endpoint.is_none() {
        format!(
            "Let a user or role of AWS read the bucket, and give Forebay its credentials (environment, ~/.aws, or the machine's role):\n     \
             aws iam put-user-policy --user-name USER --policy-name forebay --policy-document file://{policy}"
        )
    } else {
        format!("Give Forebay credentials of the store (environment or ~/.aws) with the rights in {policy}.")
    });
    steps.push(format!(
        "Look whether all is well:\n     forebay doctor --config {}",
        file("forebay.toml")
    ));
    let program = std::env::current_exe().unwrap_or_else(|_| "forebay".into());
    steps.push(if systemd {
        format!(
            "Serve (credentials, if the machine has no role, go into /etc/forebay/environment; certificates must be readable there):\n     \
             install {} /usr/local/bin/forebay\n     install -D -m 644 {} /etc/forebay/forebay.toml\n     \
             install -m 644 {} /etc/systemd/system/\n     systemctl enable --now forebay",
            program.display(),
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

/// Prompts in the terminal.
#[derive(Clone, Copy)]
struct Questions {
    asks: bool,
}

impl Questions {
    /// The answer, or the default; `None` if there is neither.
    fn ask(self, question: &str, usual: Option<&str>) -> miette::Result<Option<String>> {
        let usual = usual.map(str::to_owned);
        if !self.asks {
            return Ok(usual);
        }
        let hint = usual.as_ref().map(|usual| format!(" [{usual}]")).unwrap_or_default();
        let mut out = std::io::stdout();
        write!(out, "{question}{hint}: ").and_then(|()| out.flush()).map_err(report)?;
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).map_err(report)? == 0 {
            let message = "there is nobody to answer any more".to_owned();
            return Err(Mendable { message, help: "nothing was written".into() }.into());
        }
        Ok(Some(line.trim().to_owned()).filter(|line| !line.is_empty()).or(usual))
    }

    fn confirm(self, question: &str) -> miette::Result<bool> {
        loop {
            let answer = self.ask(&format!("{question} y/n"), Some("n"))?.unwrap_or_default();
            match answer.to_ascii_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => say("Please answer y or n."),
            }
        }
    }
}
