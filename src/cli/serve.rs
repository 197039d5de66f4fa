//! `forebay serve`.

use std::{borrow::Cow, net::SocketAddr, process::ExitCode, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};

use super::{UserError, in_full, report, source::ConfigSource};
use crate::{
    app::{self, CredentialSource, Running},
    aws::describe,
    base::clock::Clock,
    control::SecretError,
    origin::Origin,
    proxy::Distribution,
};

pub(super) fn run(source: &ConfigSource) -> miette::Result<ExitCode> {
    let config = source.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(report)?;
    let served = runtime.block_on(async {
        let running = app::start(config, Clock::system(), CredentialSource::StandardChain);
        serve(running.map_err(|error| with_help(&error, source))?, source).await
    });
    // Do not wait for blocked threads.
    runtime.shutdown_background();
    served
}

/// An error at the start, with its fix.
fn with_help(error: &app::Error, source: &ConfigSource) -> UserError {
    let help: Cow<'static, str> = match error {
        app::Error::Bind(_) if source.is_file() => {
            "choose another address for it in the configuration file: in `listen.http`, `listen.https`, `admin.listen` or `cluster.peer_listen`".into()
        }
        app::Error::Bind(_) => "choose other addresses with --listen and --admin".into(),
        app::Error::Tls(error) => error.advice().into(),
        app::Error::Trust { .. } => "name a PEM file with CA certificates in `ca_file`".into(),
        app::Error::AccessLog { path, .. } => format!(
            "create the directory of `{}` and make it writable by the user that runs Forebay, or change `access_log.path`",
            path.display()
        )
        .into(),
        app::Error::State { folder, .. } => format!(
            "create the directory `{}` and make it writable by the user that runs Forebay, or change `admin.state`",
            folder.display()
        )
        .into(),
        app::Error::Secret(_) => SecretError::ADVICE.into(),
        app::Error::Store(error) => error.advice().into(),
        app::Error::Keys(error) => error.advice().into(),
        app::Error::Geography(_) => {
            "name a database in MaxMind's format (.mmdb) in `geo.database` and `geo.asn_database`".into()
        }
        app::Error::System(_) => "check the limits on open files and threads (`ulimit -a`)".into(),
    };
    let message = match error {
        app::Error::Tls(error) => describe(error),
        error => error.to_string(),
    };
    UserError { message, help: help.into_owned() }
}

/// Serves until a signal stops it.
async fn serve(running: Running, source: &ConfigSource) -> miette::Result<ExitCode> {
    let mut hangup = signal(SignalKind::hangup()).map_err(report)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(report)?;
    // nginx's signals: reopen the log, stop gracefully.
    let mut reopen = signal(SignalKind::user_defined1()).map_err(report)?;
    let mut quit = signal(SignalKind::quit()).map_err(report)?;
    tracing::info!(
        http = list(&running.http),
        https = list(&running.https),
        admin = list(running.admin_address.as_slice()),
        distributions = names(&running),
        "forebay {} is serving",
        env!("CARGO_PKG_VERSION")
    );
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(&running, source),
            _ = reopen.recv() => running.reopen_log(),
            _ = terminate.recv() => break,
            _ = quit.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    tracing::info!(
        "stopping: `/readyz` returns 503 for `drain_delay`, then connections are refused and requests in progress finish"
    );
    if !running.stop().await {
        tracing::warn!("some connections did not finish within `drain` and were closed");
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn list(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "off".to_owned() } else { texts.join(", ") }
}

/// Each distribution with its origins' addresses.
fn names(running: &Running) -> String {
    let rules = running.edge.rules();
    let name = |distribution: &Arc<Distribution>| {
        let address = |origin: &Arc<Origin>| {
            let address = &origin.options().address;
            format!("{}{}", address.authority, address.base_path)
        };
        // Each member of a group is also listed as a single origin.
        let alone = distribution.origins.iter().filter(|group| group.members().count() == 1);
        let origins: Vec<String> = alone.flat_map(|group| group.members()).map(address).collect();
        format!("{} ({})", distribution.settings.id, origins.join(", "))
    };
    rules.hosts.all().iter().map(name).collect::<Vec<_>>().join("; ")
}

fn reload(running: &Running, source: &ConfigSource) {
    if !source.is_file() {
        running.reopen_log();
        running.renew_credentials();
        return tracing::info!(
            "AWS credentials are read again; there is no configuration file to reload"
        );
    }
    let reloaded = source
        .load()
        .map_err(in_full)
        .and_then(|config| running.reload(config).map_err(|error| error.to_string()));
    match reloaded {
        Ok(()) => tracing::info!("configuration and certificates reloaded"),
        Err(reason) => {
            // A mistake in the file must not stop log rotation.
            running.reopen_log();
            tracing::error!(
                "the configuration was not reloaded; the previous one stays in effect:\n{reason}"
            );
        }
    }
}
