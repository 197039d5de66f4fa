//! The configuration: from a file or from flags.

use std::path::{Path, PathBuf};

use super::{UserError, flag_faults::by_flag};
use crate::config::{Bucket, Config};

/// The file that `init` writes, and the default configuration file.
pub(super) const USUAL: &str = "forebay.toml";

/// A configuration file.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// Configuration file [default: ./forebay.toml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same
    #[arg(value_name = "FILE", hide = true, conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl ConfigFile {
    /// The named file, or the default one if it exists.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let usual = || Some(PathBuf::from(USUAL)).filter(|path| path.exists());
        self.config.clone().or_else(|| self.file.clone()).or_else(usual)
    }

    /// Same as [`Self::path`], but an error with help if there is none.
    pub(super) fn required(&self) -> Result<PathBuf, UserError> {
        self.path().ok_or_else(|| UserError {
            message: format!("no configuration: ./{USUAL} does not exist"),
            help: "name a file with --config FILE, or write one with `forebay init`".into(),
        })
    }
}

/// A configuration file, or flags instead of one.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigSource {
    #[command(flatten)]
    file: ConfigFile,
    /// Bucket to serve, without a configuration file
    #[arg(long, requires = "region", conflicts_with_all = ["config", "file"])]
    bucket: Option<String>,
    /// The bucket's region
    #[arg(long, requires = "bucket")]
    region: Option<String>,
    /// S3-compatible store to use instead of AWS
    #[arg(long, value_name = "URL", requires = "bucket")]
    endpoint: Option<String>,
    /// Put the bucket's name in the path instead of the host name
    #[arg(long, requires = "bucket")]
    path_style: bool,
    /// Object to return for `/`; without it, `/` gets 403
    #[arg(long, value_name = "OBJECT", requires = "bucket")]
    default_root_object: Option<String>,
    /// Host name to serve, with --bucket (may be repeated) [default: any]
    #[arg(long = "domain", value_name = "NAME", requires = "bucket")]
    domains: Vec<String>,
    /// Get certificates for the domains from Let's Encrypt, and serve HTTPS on port 443; the address is for its mails
    #[arg(long, value_name = "EMAIL", requires_all = ["domains", "state"])]
    acme: Option<String>,
    /// Directory for the account, the keys and the certificates of --acme
    #[arg(long, value_name = "DIR", requires = "acme")]
    state: Option<PathBuf>,
    /// Address to listen on, with --bucket [default: port 8080 on all addresses; port 80 with --acme]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Admin address, or "off", with --bucket [default: 127.0.0.1:9145]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Directory for a disk cache, with --bucket
    #[arg(long, value_name = "DIR", requires = "cache_size")]
    cache_dir: Option<PathBuf>,
    /// Maximum size of the disk cache, such as 100GiB
    #[arg(long, value_name = "SIZE", requires = "cache_dir")]
    cache_size: Option<String>,
}

impl ConfigSource {
    /// The configuration file, unless flags configure the bucket.
    pub(super) fn path(&self) -> Option<PathBuf> {
        if self.bucket.is_some() { None } else { self.file.path() }
    }

    /// Whether the configuration comes from a file, even if that is missing now.
    pub(super) const fn is_file(&self) -> bool {
        self.bucket.is_none()
    }

    /// Loads the configuration from the file or the flags.
    pub(super) fn load(&self) -> miette::Result<Config> {
        let disk = self.cache_dir.as_ref().zip(self.cache_size.as_ref());
        match (self.path(), &self.bucket, &self.region) {
            (Some(path), _, _) if disk.is_some() => Err(UserError {
                message: format!("--cache-dir needs --bucket; `{}` is in use", path.display()),
                help: "add a table [cache.disk] with `path` and `capacity` there".into(),
            })?,
            (Some(path), _, _) if self.listen.is_some() || self.admin.is_some() => Err(UserError {
                message: format!("--listen and --admin need --bucket; the addresses are in `{}`", path.display()),
                help: "edit `listen.http` and `admin.listen` there".into(),
            })?,
            (Some(path), _, _) => load_file(&path),
            (None, Some(bucket), Some(region)) => {
                let bucket = Bucket {
                    bucket: bucket.clone(),
                    region: region.clone(),
                    endpoint: self.endpoint.clone(),
                    path_style: self.path_style,
                    default_root_object: self.default_root_object.clone(),
                    listen: self.listen.clone().unwrap_or_else(|| {
                        if self.acme.is_some() { "[::]:80".into() } else { "[::]:8080".into() }
                    }),
                    admin: self.admin.clone(),
                    hosts: self.domains.clone(),
                    acme: self.acme.clone().zip(self.state.as_ref().map(|dir| dir.display().to_string())),
                    disk: disk.map(|(path, size)| (path.display().to_string(), size.clone())),
                };
                Ok(Config::for_bucket(&bucket).map_err(|faults| by_flag(&bucket.to_toml(), &faults))?)
            }
            _ => Err(UserError {
                message: "no configuration: ./forebay.toml does not exist, and --bucket is not set".into(),
                help: "name a file with --config FILE (`forebay init` writes one), or pass --bucket NAME and --region REGION".into(),
            })?,
        }
    }
}

/// Reads and compiles a configuration file, and the staging file that it names.
pub(super) fn load_file(path: &Path) -> miette::Result<Config> {
    let mut config = load_one(path)?;
    if let Some(staging) = &config.staging {
        let file = staging.file.clone();
        std::fs::metadata(&file).map_err(|error| UserError {
            message: format!("cannot read the staging configuration `{}`: {error}", file.display()),
            help: format!(
                "`staging.file` in `{}` names it: write it, or remove the table [staging]",
                path.display()
            ),
        })?;
        let staged = load_one(&file)?;
        config.stage(staged).map_err(|reason| UserError {
            message: format!("`{}` cannot be the staging configuration: {reason}", file.display()),
            help: "`staging.file` names it; `forebay check --config` checks it alone".into(),
        })?;
    }
    Ok(config)
}

/// Reads and compiles a configuration file.
pub(super) fn load_one(path: &Path) -> miette::Result<Config> {
    let text = std::fs::read_to_string(path).map_err(|error| UserError {
        message: format!("cannot read `{}`: {error}", path.display()),
        help: "`forebay init` writes one; `forebay serve --bucket NAME --region REGION` needs none"
            .into(),
    })?;
    let directory = path.parent().unwrap_or_else(|| Path::new(""));
    Ok(Config::compile(&path.display().to_string(), &text, directory)?)
}
