//! `forebay serve`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use tokio::signal::unix::{SignalKind, signal};

use super::{Mendable, report};
use crate::{
    app::{self, CredentialSource, Running},
    clock::Clock,
    config::{Bucket, Config},
    edge::Distribution,
    origin::Origin,
};

/// Serve buckets, by a configuration file or by flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bucket", "region", "endpoint", "path_style", "default_root_object", "listen", "admin"])]
    config: Option<PathBuf>,
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

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let config = load(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(report)?;
    runtime.block_on(async {
        let running = app::start(config, Clock::system(), CredentialSource::StandardChain);
        let running = running.map_err(|error| match error {
            app::Error::Bind(error) => Mendable {
                message: error.to_string(),
                help: "choose other addresses: `listen` and `admin` in the file, or --listen and --admin"
                    .into(),
            }
            .into(),
            error => report(error),
        })?;
        serve(running, args).await
    })
}

fn load(args: &Args) -> miette::Result<Config> {
    match (&args.config, &args.bucket, &args.region) {
        (Some(path), _, _) => load_file(path),
        (None, Some(bucket), Some(region)) => Ok(Config::for_bucket(&Bucket {
            bucket: bucket.clone(),
            region: region.clone(),
            endpoint: args.endpoint.clone(),
            path_style: args.path_style,
            default_root_object: args.default_root_object.clone(),
            listen: args.listen.clone(),
            admin: Some(args.admin.clone()),
        })?),
        _ => Err(Mendable {
            message: "there is nothing to serve".into(),
            help: "give --config FILE, or --bucket NAME and --region REGION".into(),
        })?,
    }
}

/// Reads and compiles a configuration file.
pub(super) fn load_file(path: &Path) -> miette::Result<Config> {
    let text = std::fs::read_to_string(path).map_err(|error| Mendable {
        message: format!("cannot read `{}`: {error}", path.display()),
        help: "`serve` needs no file with --bucket and --region; the sources have config/minimal.toml to begin with".into(),
    })?;
    let directory = path.parent().unwrap_or_else(|| Path::new(""));
    Ok(Config::compile(&path.display().to_string(), &text, directory)?)
}

/// Serves until a signal ends it.
async fn serve(running: Running, args: &Args) -> miette::Result<ExitCode> {
    let mut hangup = signal(SignalKind::hangup()).map_err(report)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(report)?;
    tracing::info!(
        http = list(&running.http),
        https = list(&running.https),
        admin = list(running.admin_address.as_slice()),
        distributions = names(&running),
        "forebay {} serves",
        env!("CARGO_PKG_VERSION")
    );
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(&running, args),
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    tracing::info!("draining: no new connections, those under way finish");
    if !running.stop().await {
        tracing::warn!("some connections did not finish in time and were cut");
    }
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

fn list(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "off".to_owned() } else { texts.join(", ") }
}

/// Each distribution with where its origins are.
fn names(running: &Running) -> String {
    let rules = running.edge.rules();
    let name = |distribution: &Arc<Distribution>| {
        let address = |origin: &Arc<Origin>| {
            let address = &origin.options().address;
            format!("{}{}", address.authority, address.base_path)
        };
        // Groups are made of origins that stand by themselves too.
        let alone = distribution.origins.iter().filter(|group| group.members().count() == 1);
        let origins: Vec<String> = alone.flat_map(|group| group.members()).map(address).collect();
        format!("{} ({})", distribution.settings.id, origins.join(", "))
    };
    rules.hosts.all().iter().map(name).collect::<Vec<_>>().join("; ")
}

fn reload(running: &Running, args: &Args) {
    if args.config.is_none() {
        running.reopen_log();
        return tracing::info!("there is no configuration file to read again");
    }
    let reloaded = load(args)
        .map_err(|faults| format!("{faults:?}"))
        .and_then(|config| running.reload(config).map_err(|error| error.to_string()));
    match reloaded {
        Ok(()) => tracing::info!("configuration and certificates reloaded"),
        Err(reason) => tracing::error!("nothing was changed, because of:\n{reason}"),
    }
}
