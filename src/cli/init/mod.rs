//! `forebay init`.

mod next_steps;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use next_steps::NextSteps;

use super::{
    UserError, doctor,
    flag_faults::{by_flag, flag_of},
    import::{absolute, write_new},
    prompt::Prompt,
    report, say,
    style::{Style, paint},
};
use crate::{
    base::clock::Clock,
    config::Config,
    doctor::{Verdict, bucket_region, examine, examine_machine, needs_path_style},
    setup::{SERVICE, SYSUSERS, Site, reading_policy},
};

/// Set up a bucket: writes the configuration, an IAM policy and Django settings.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prompts for values that you don't pass as flags. With --yes or without a terminal, it uses the defaults."
)]
pub(super) struct Args {
    /// Bucket to serve
    #[arg(long)]
    bucket: Option<String>,
    /// The bucket's region [default: looked up from AWS]
    #[arg(long)]
    region: Option<String>,
    /// S3-compatible store to use instead of AWS
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Put the bucket's name in the path instead of the host name
    #[arg(long)]
    path_style: bool,
    /// Distribution ID, for invalidations [default: a new one in CloudFront's format]
    #[arg(long, value_name = "ID")]
    distribution_id: Option<String>,
    /// Host that viewers will use [default: any]
    #[arg(long, value_name = "HOST")]
    domain: Option<String>,
    /// Object to return for `/`; without it, `/` gets 403
    #[arg(long, value_name = "OBJECT")]
    default_root_object: Option<String>,
    /// TLS certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Address for plain HTTP; `[::]` means all addresses of this machine
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    listen: String,
    /// Address for HTTPS, if there is a certificate [default: port 8443 on all addresses]
    #[arg(long, value_name = "ADDRESS")]
    listen_tls: Option<String>,
    /// Admin address, or "off"
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9145")]
    admin: String,
    /// Also write a systemd unit (not with --compose)
    #[arg(long, conflicts_with = "compose")]
    systemd: bool,
    /// Also write a Compose file (not with --systemd)
    #[arg(long)]
    compose: bool,
    /// Directory to write to
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Start over, and keep existing files as *.old
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
    require_no_files(args, (args.systemd, args.compose))?;
    let setup = Setup { args, prompt: Prompt::new(args.yes), runtime: &runtime };
    let (site, config) = setup.settle()?;
    let systemd =
        args.systemd || (!args.compose && setup.prompt.confirm("Also write a systemd unit?")?);
    let compose =
        args.compose || (!systemd && setup.prompt.confirm("Also write a Compose file?")?);
    require_no_files(args, (systemd, compose))?;
    let written = write(args, &site, &config, (systemd, compose))?;
    say(&format!("Wrote {}", written.join(", ")));
    let clock = Clock::system();
    let findings = if args.offline {
        examine_machine(&config, &clock)
    } else {
        runtime.block_on(examine(&config, None, &clock))
    };
    say(&format!("\n{}", doctor::text(&findings)));
    let has_problems = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    let works = if has_problems { Some(false) } else { (!args.offline).then_some(true) };
    let has_credentials = findings.iter().any(|finding| finding.area == "credentials")
        && !findings.iter().any(|f| f.area == "credentials" && f.verdict == Verdict::Bad);
    let steps = NextSteps { dir: &args.dir, site: &site, works, has_credentials, systemd, compose };
    say(&format!("\n{}", steps.text()));
    Ok(if has_problems { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Determines the site from flags and prompts.
struct Setup<'a> {
    args: &'a Args,
    prompt: Prompt,
    runtime: &'a tokio::runtime::Runtime,
}

impl Setup<'_> {
    /// The site and its configuration. Prompts again, with the answers as defaults, until all values fit together.
    fn settle(&self) -> miette::Result<(Site, Config)> {
        let mut before = Site { id: Site::new_id('E'), ..Site::default() };
        loop {
            let site = self.site(&before)?;
            match site.config(&self.args.dir) {
                Ok(config) => return Ok((site, config)),
                // Prompting again cannot change what flags set.
                Err(faults) if self.prompt.is_interactive && site != before => {
                    for fault in &faults.faults {
                        complain(fault.message());
                    }
                    before = site;
                }
                Err(faults) => return Err(by_flag(&site.toml(), &faults).into()),
            }
        }
    }

    fn site(&self, before: &Site) -> miette::Result<Site> {
        let args = self.args;
        let mut site = Site {
            path_style: args.path_style,
            certificate: args
                .certificate
                .as_deref()
                .map(absolute)
                .zip(args.key.as_deref().map(absolute)),
            listen: args.listen.clone(),
            listen_tls: args.listen_tls.clone().unwrap_or_else(|| "[::]:8443".into()),
            admin: args.admin.clone(),
            ..Site::sample()
        };
        if args.bucket.is_none() && !self.prompt.is_interactive {
            let message = "no bucket given".into();
            return Err(
                UserError { message, help: "pass its name with --bucket NAME".into() }.into()
            );
        }
        let known = Some(before.bucket.as_str()).filter(|bucket| !bucket.is_empty());
        self.set(
            &mut site,
            "--bucket",
            args.bucket.as_deref(),
            ("Bucket", known),
            |site, value| {
                site.bucket = value.unwrap_or_default();
            },
        )?;
        self.set_endpoint(&mut site, before)?;
        self.set_region(&mut site, before)?;
        let label = "Host that viewers will use (empty: any)";
        let known = before.domain.as_deref();
        self.set(&mut site, "--domain", args.domain.as_deref(), (label, known), |site, value| {
            site.domain = value.as_deref().map(host);
        })?;
        self.set_certificate(&mut site, before)?;
        let label = "Object to return for `/`, such as index.html, if any";
        let (flag, known) =
            (args.default_root_object.as_deref(), before.default_root_object.as_deref());
        self.set(&mut site, "--default-root-object", flag, (label, known), |site, value| {
            site.default_root_object = value;
        })?;
        let (flag, known) = (args.distribution_id.as_deref(), Some(before.id.as_str()));
        self.set(
            &mut site,
            "--distribution-id",
            flag,
            ("Distribution ID", known),
            |site, value| {
                site.id = value.unwrap_or_default();
            },
        )?;
        Ok(site)
    }

    /// Sets the endpoint, and path style if the store needs it.
    fn set_endpoint(&self, site: &mut Site, before: &Site) -> miette::Result<()> {
        let args = self.args;
        if args.region.is_some() && args.endpoint.is_none() {
            return Ok(());
        }
        let (label, known) = ("URL of the store, if it is not AWS", before.endpoint.as_deref());
        let set = |site: &mut Site, value| site.endpoint = value;
        self.set(site, "--endpoint", args.endpoint.as_deref(), (label, known), set)?;
        if let (Some(endpoint), false, false) = (&site.endpoint, site.path_style, args.offline)
            && self.runtime.block_on(needs_path_style(&site.bucket, endpoint))
        {
            say("The store expects the bucket's name in the path (--path-style).");
            site.path_style = true;
        }
        Ok(())
    }

    /// Sets certificate and key, which only a site with a host needs.
    fn set_certificate(&self, site: &mut Site, before: &Site) -> miette::Result<()> {
        let wants_tls = site.domain.is_some() || self.args.listen_tls.is_some();
        if site.certificate.is_some() || !wants_tls {
            return Ok(());
        }
        let known = before.certificate.as_ref();
        let label = "TLS certificate (PEM file), unless a load balancer terminates TLS";
        let Some(certificate) = self.prompt.text(label, known.map(|(file, _)| file.as_str()))?
        else {
            return match self.args.listen_tls {
                None => Ok(()),
                Some(_) => Err(UserError {
                    message: "--listen-tls needs a certificate".into(),
                    help: "pass --certificate and --key, or remove it".into(),
                }
                .into()),
            };
        };
        let key = loop {
            let label = "The certificate's private key (PEM file)";
            match self.prompt.text(label, known.map(|(_, file)| file.as_str()))? {
                Some(key) => break key,
                None => complain("a certificate needs its key"),
            }
        };
        let [certificate, key] = [certificate, key].map(|file| absolute(Path::new(&file)));
        site.certificate = Some((certificate, key));
        Ok(())
    }

    /// Sets the region, by default the one that AWS reports.
    fn set_region(&self, site: &mut Site, before: &Site) -> miette::Result<()> {
        let looked_up = match (&self.args.region, &site.endpoint) {
            (None, None) if !self.args.offline => {
                self.runtime.block_on(bucket_region(&site.bucket))
            }
            (None, Some(_)) => Some("us-east-1".to_owned()),
            _ => None,
        };
        let known = Some(before.region.clone()).filter(|region| !region.is_empty()).or(looked_up);
        let known = known.or_else(|| self.prompt.is_interactive.then(|| "us-east-1".to_owned()));
        if known.is_none() && self.args.region.is_none() {
            return Err(UserError {
                message: "the bucket's region is unknown".into(),
                help: "pass it, for example --region eu-central-1".into(),
            }
            .into());
        }
        let flag = self.args.region.as_deref();
        self.set(site, "--region", flag, ("Region", known.as_deref()), |site, value| {
            site.region = value.unwrap_or_default();
        })
    }

    /// Sets a value of the site from its flag or a prompt. A flag's bad value is an error; a prompt is repeated.
    fn set(
        &self,
        site: &mut Site,
        flag: &str,
        given: Option<&str>,
        (label, known): (&str, Option<&str>),
        set: impl Fn(&mut Site, Option<String>),
    ) -> miette::Result<()> {
        loop {
            let value = match given {
                Some(given) => Some(given.to_owned()),
                None => self.prompt.text(label, known)?,
            };
            set(site, value);
            let Err(faults) = site.config(&self.args.dir) else { return Ok(()) };
            let text = site.toml();
            let own = faults.faults.iter().find(|fault| flag_of(&text, fault) == Some(flag));
            let Some(own) = own else { return Ok(()) };
            if given.is_some() || !self.prompt.is_interactive {
                let help = own.help().unwrap_or("correct the value of the flag").to_owned();
                let message = format!("{flag}: {}", own.message());
                return Err(UserError { message, help }.into());
            }
            complain(own.message());
        }
    }
}

fn complain(message: &str) {
    say(&format!("{} {message}", paint(Style::Bad, "✖")));
}

/// The host in a URL that was pasted from a browser.
fn host(domain: &str) -> String {
    let host = domain.trim_start_matches("https://").trim_start_matches("http://");
    host.trim_end_matches('/').to_owned()
}

/// Fails if a file exists, unless forced. Runs before any prompt: `init` writes all files or none.
fn require_no_files(args: &Args, (systemd, compose): (bool, bool)) -> miette::Result<()> {
    let files = ["forebay.toml", "forebay-iam-policy.json", "forebay_django.py"];
    let more =
        [(systemd, "forebay.service"), (systemd, "forebay.sysusers"), (compose, "compose.yaml")];
    let more = more.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name);
    let mut paths = files.into_iter().chain(more).map(|name| args.dir.join(name));
    match paths.find(|path| path.exists()).filter(|_| !args.force) {
        None => Ok(()),
        Some(path) => Err(UserError {
            message: format!("`{}` already exists", path.display()),
            help: "edit it; choose another directory with --dir; or start over with --force, which renames the old files to *.old".into(),
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
    let units =
        [("forebay.service", SERVICE.to_owned()), ("forebay.sysusers", SYSUSERS.to_owned())];
    files.extend(systemd.then_some(units).into_iter().flatten());
    files.extend(compose.then(|| ("compose.yaml", site.compose())));
    std::fs::create_dir_all(&args.dir).map_err(|error| UserError {
        message: format!("cannot create the directory `{}`: {error}", args.dir.display()),
        help: "choose another with --dir".into(),
    })?;
    let mut written = Vec::new();
    for (name, text) in files {
        let path = args.dir.join(name);
        let old = unused(&args.dir, name);
        if std::fs::read_to_string(&path).is_ok_and(|before| before != text)
            && std::fs::rename(&path, &old).is_ok()
        {
            say(&format!("Kept the old {} as {}", shown(&path), shown(&old)));
        }
        write_new(&path, &text, args.force)?;
        written.push(shown(&path));
    }
    Ok(written)
}

/// A name for an old file that no other has: `name.old`, `name.old.2` and so on.
fn unused(directory: &Path, name: &str) -> PathBuf {
    let mut old = directory.join(format!("{name}.old"));
    for number in 2.. {
        if !old.exists() {
            break;
        }
        old = directory.join(format!("{name}.old.{number}"));
    }
    old
}

fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}
