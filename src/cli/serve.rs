//! `forebay serve`.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use rustix::process::Signal;

use super::{
    UserError, in_full,
    program::this_program,
    report,
    signals::Signals,
    source::ConfigSource,
    systemd::{self, Watchdog},
    upgrade_progress::Upgrade,
};
use crate::{
    access_log::AccessLog,
    app::{self, CredentialSource, Predecessor, Program, Running},
    base::clock::Clock,
    control::{OperatorCommand, ReloadOutcome, Reloaded},
    origin::Origin,
    proxy::Distribution,
};

pub(super) fn run(source: &ConfigSource) -> miette::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(report)?;
    // First, because a signal that is not handled ends the process.
    let signals = runtime.block_on(async { Signals::new() }).map_err(report)?;
    let predecessor = Predecessor::of_environment().map_err(|error| UserError {
        message: format!("FOREBAY_UPGRADE is set, but no other process started this one: {error}"),
        help: "remove FOREBAY_UPGRADE from the environment".into(),
    })?;
    let started = runtime.block_on(async { start(source, predecessor.as_ref()) });
    let running = match (started, &predecessor) {
        (Err(error), Some(predecessor)) => {
            // The other process logs it.
            predecessor.failed(&in_full(error));
            return Ok(ExitCode::FAILURE);
        }
        (started, _) => started?,
    };
    let served = runtime.block_on(serve(running, source, predecessor, signals));
    // Do not wait for blocked threads.
    runtime.shutdown_background();
    served
}

/// Prepares everything. Connections are not accepted yet.
fn start(source: &ConfigSource, predecessor: Option<&Predecessor>) -> miette::Result<Running> {
    let config = source.load()?;
    let sockets = systemd::sockets().map_err(|error| UserError {
        message: format!("a socket from systemd cannot be used: {error}"),
        help: "use ListenStream= with addresses and ports in the socket unit".into(),
    })?;
    let credentials = CredentialSource::StandardChain;
    let running = app::prepare(config, Clock::system(), credentials, &sockets, predecessor)
        .map_err(|error| with_help(&error, source))?;
    for address in sockets.unused() {
        tracing::warn!(
            "no listener of the configuration has the address of the socket {address}: it is closed"
        );
    }
    Ok(running)
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

/// How a process stops serving.
enum End {
    Stopped,
    /// Whether it was stopped, too.
    Replaced {
        stops: bool,
    },
}

/// Serves until a signal stops it, or another process replaces it.
async fn serve(
    running: Running,
    source: &ConfigSource,
    predecessor: Option<Predecessor>,
    mut signals: Signals,
) -> miette::Result<ExitCode> {
    let program = this_program();
    match predecessor {
        Some(predecessor) => {
            if !running.is_ready().await && predecessor.is_ready() {
                let reason = "it is not ready to serve: it has no AWS credentials, or cannot join its cluster; the log has the reason";
                predecessor.failed(reason);
                return Ok(ExitCode::FAILURE);
            }
            running.replace(&predecessor).map_err(report)?;
        }
        None => running.serve(),
    }
    tracing::info!(
        http = list(&running.http),
        https = list(&running.https),
        http3 = running.has_http3().then_some("on"),
        admin = list(running.admin_address.as_slice()),
        distributions = names(&running),
        "forebay {} is serving",
        env!("CARGO_PKG_VERSION")
    );
    systemd::ready("serving");
    let is_complete = match until_end(&running, source, &program, &mut signals).await? {
        End::Stopped => {
            systemd::stopping(running.longest_stop());
            tracing::info!(
                "stopping: `/readyz` returns 503 for `drain_delay`, then connections are refused and requests in progress finish"
            );
            running.stop().await
        }
        End::Replaced { stops } => {
            let log = running.access_log();
            running.finish(stopped_after(stops, log, signals)).await
        }
    };
    if !is_complete {
        tracing::warn!("some connections did not finish within `drain` and were closed");
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Waits until a process that was replaced is stopped. Reopens its access log on the usual signals.
async fn stopped_after(stops: bool, log: Arc<AccessLog>, mut signals: Signals) {
    if !stops {
        loop {
            tokio::select! {
                _ = signals.hangup.recv() => log.reopen(),
                _ = signals.reopen.recv() => log.reopen(),
                () = signals.stop.received() => break,
            }
        }
    }
    tracing::info!("stopping: the last requests finish within `drain`");
}

/// Carries out commands and signals until the process stops serving.
async fn until_end(
    running: &Running,
    source: &ConfigSource,
    program: &Program,
    signals: &mut Signals,
) -> miette::Result<End> {
    let mut commands = running.take_commands().ok_or_else(|| report("already serving"))?;
    let mut watchdog = Watchdog::new();
    let mut upgrade = Upgrade::default();
    let (mut stops, mut reloads) = (false, false);
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => {
                // If the upgrade fails, this process reads the configuration again.
                reloads |= upgrade.is_in_progress();
                drop(reload(running, source, &upgrade));
            }
            Some(command) = commands.recv() => match command {
                OperatorCommand::Reload(outcome) => {
                    // The caller may be gone.
                    let _ = outcome.send(reload(running, source, &upgrade));
                }
                OperatorCommand::Upgrade(outcome) => upgrade.begin(running, program, Some(outcome)),
            },
            _ = signals.upgrade.recv() => upgrade.begin(running, program, None),
            outcome = upgrade.ended() => {
                match upgrade.report(outcome) {
                    Some(successor) if stops => successor.send(Signal::TERM),
                    // It may have read the configuration before it changed.
                    Some(successor) if reloads => successor.send(Signal::HUP),
                    Some(_) => {}
                    None if stops => return Ok(End::Stopped),
                    None => {
                        if std::mem::take(&mut reloads) {
                            drop(reload(running, source, &upgrade));
                        }
                        continue;
                    }
                }
                return Ok(End::Replaced { stops });
            }
            () = watchdog.next_sign() => {
                if running.is_healthy() {
                    systemd::is_alive();
                }
            }
            _ = signals.reopen.recv() => {
                reloads |= upgrade.is_in_progress();
                running.reopen_log();
            }
            () = signals.stop.received() => {
                if !upgrade.is_in_progress() {
                    return Ok(End::Stopped);
                }
                stops = true;
                running.cancel_upgrade();
            }
        }
    }
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
fn reload(running: &Running, source: &ConfigSource, upgrade: &Upgrade<'_>) -> ReloadOutcome {
    if upgrade.is_in_progress() {
        running.reopen_log();
        let why = "the process is being replaced, and the new one reads the configuration";
        tracing::warn!("the configuration was not reloaded: {why}");
        return Err(why.to_owned());
    }
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
