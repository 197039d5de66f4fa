//! What is served: by a configuration file, or by flags.

use std::path::{Path, PathBuf};

use super::Mendable;
use crate::config::{Bucket, Config};

/// A configuration file, or flags in the place of one.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// Configuration file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bucket", "region", "endpoint", "path_style", "default_root_object", "listen", "admin"])]
    pub(super) config: Option<PathBuf>,
    /// Bucket to serve, without a configuration file
    #[arg(long, requires = "region")]
    bucket: Option<String>,
    /// The bucket's region
    #[arg(long, requires = "bucket")]
    region: Option<String>,
    /// S3-compatible store in the place of AWS
    #[arg(long, value_name = "URL", requires = "bucket")]
    endpoint: Option<String>,
    /// Put the bucket into the path, not into the host name
    #[arg(long, requires = "bucket")]
    path_style: bool,
    /// Object that `/` stands for; without it `/` is 403
    #[arg(long, value_name = "OBJECT", requires = "bucket")]
    default_root_object: Option<String>,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: String,
    /// Admin address, or "off"
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9145")]
    admin: String,
}

impl Source {
    /// The configuration that it says.
    pub(super) fn load(&self) -> miette::Result<Config> {
        match (&self.config, &self.bucket, &self.region) {
            (Some(path), _, _) => load_file(path),
            (None, Some(bucket), Some(region)) => Ok(Config::for_bucket(&Bucket {
                bucket: bucket.clone(),
                region: region.clone(),
                endpoint: self.endpoint.clone(),
                path_style: self.path_style,
                default_root_object: self.default_root_object.clone(),
                listen: self.listen.clone(),
                admin: Some(self.admin.clone()),
            })?),
            _ => Err(Mendable {
                message: "there is nothing to serve".into(),
                help: "give --config FILE, or --bucket NAME and --region REGION".into(),
            })?,
        }
    }
}

/// Reads and compiles a configuration file.
pub(super) fn load_file(path: &Path) -> miette::Result<Config> {
    let text = std::fs::read_to_string(path).map_err(|error| Mendable {
        message: format!("cannot read `{}`: {error}", path.display()),
        help: "`forebay init` writes one; with --bucket and --region none is needed".into(),
    })?;
    let directory = path.parent().unwrap_or_else(|| Path::new(""));
    Ok(Config::compile(&path.display().to_string(), &text, directory)?)
}
