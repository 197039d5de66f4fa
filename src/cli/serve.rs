//! `forebay serve`.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    UserError, in_full, report,
    source::ConfigSource,
    systemd::{self, Watchdog},
};
use crate::{
    app::{self, CredentialSource, Running},
    base::clock::Clock,
    control::{ReloadOutcome, Reloaded},
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
    let help = match error {
        app::Error::Bind(_) if !source.is_file() => {
            "choose other addresses with --listen and --admin".into()
        }
        error => error.advice().into_owned(),
    };
    UserError { message: error.to_string(), help }
}

/// Serves until a signal stops it.
async fn serve(running: Running, source: &ConfigSource) -> miette::Result<ExitCode> {
    let mut hangup = signal(SignalKind::hangup()).map_err(report)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(report)?;
    // nginx's signals: reopen the log, stop gracefully.
    let mut reopen = signal(SignalKind::user_defined1()).map_err(report)?;
    let mut quit = signal(SignalKind::quit()).map_err(report)?;
    let mut reloads = running.take_reload_requests().ok_or_else(|| report("already serving"))?;
    tracing::info!(
        http = list(&running.http),
        https = list(&running.https),
        admin = list(running.admin_address.as_slice()),
        distributions = names(&running),
        "forebay {} is serving",
        env!("CARGO_PKG_VERSION")
    );
    let mut watchdog = Watchdog::new();
    systemd::ready("serving");
    loop {
        tokio::select! {
            _ = hangup.recv() => drop(reload(&running, source)),
            Some(request) = reloads.recv() => {
                drop(request.send(reload(&running, source)));
            }
            () = watchdog.next_sign() => {
                if running.is_healthy() {
                    systemd::is_alive();
                }
            }
            _ = reopen.recv() => running.reopen_log(),
            _ = terminate.recv() => break,
            _ = quit.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    // Requests that wait get an answer now.
    drop(reloads);
    systemd::stopping(running.longest_stop());
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

/// Reloads the configuration, and logs the outcome.
fn reload(running: &Running, source: &ConfigSource) -> ReloadOutcome {
    systemd::reloading();
    let outcome = load_again(running, source);
    systemd::ready(match &outcome {
        Ok(_) => "serving",
        Err(_) => "serving with the previous configuration: the last reload failed",
    });
    running.record_reload(outcome.is_ok());
    match &outcome {
        Ok(reloaded) => {
            tracing::info!("{}", reloaded.summary());
            for note in reloaded.notes() {
                tracing::warn!("{note}");
            }
        }
        Err(reason) => {
            // A mistake in the file must not stop log rotation.
            running.reopen_log();
            tracing::error!(
                "the configuration was not reloaded; the previous one stays in effect:\n{reason}"
            );
        }
    }
    outcome
}

fn load_again(running: &Running, source: &ConfigSource) -> ReloadOutcome {
    if !source.is_file() {
        running.reopen_log();
        running.renew_credentials();
        return Ok(Reloaded { is_from_file: false, ..Reloaded::default() });
    }
    let config = source.load().map_err(in_full)?;
    running.reload(config).map_err(|error| in_full(with_help(&error, source).into()))
}
