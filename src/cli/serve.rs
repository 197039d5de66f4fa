//! `forebay serve`.

use std::{future::pending, net::SocketAddr, process::ExitCode, sync::Arc};

use futures_util::future::LocalBoxFuture;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{
    UserError, in_full,
    program::this_program,
    report,
    source::ConfigSource,
    systemd::{self, Watchdog},
    warn,
};
use crate::{
    app::{self, CredentialSource, Predecessor, Program, Running, Successor, UpgradeError},
    base::clock::Clock,
    control::{Order, ReloadOutcome, Reloaded, UpgradeOutcome, Upgraded},
    origin::Origin,
    proxy::Distribution,
};

pub(super) fn run(source: &ConfigSource) -> miette::Result<ExitCode> {
    let predecessor = Predecessor::of_environment().map_err(|error| UserError {
        message: format!("FOREBAY_UPGRADE is set, but no other process started this one: {error}"),
        help: "remove FOREBAY_UPGRADE from the environment".into(),
    })?;
    let (runtime, running) = match (start(source, predecessor.as_ref()), &predecessor) {
        (Err(error), Some(predecessor)) => {
            let reason = in_full(error);
            predecessor.failed(&reason);
            warn(&reason);
            return Ok(ExitCode::FAILURE);
        }
        (started, _) => started?,
    };
    let served = runtime.block_on(serve(running, source, predecessor));
    // Do not wait for blocked threads.
    runtime.shutdown_background();
    served
}

/// Prepares everything. Connections are not accepted yet.
fn start(
    source: &ConfigSource,
    predecessor: Option<&Predecessor>,
) -> miette::Result<(tokio::runtime::Runtime, Running)> {
    let config = source.load()?;
    let sockets = systemd::sockets().map_err(|error| UserError {
        message: format!("a socket from systemd cannot be used: {error}"),
        help: "use ListenStream= with addresses and ports in the socket unit".into(),
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(report)?;
    let source_of_keys = CredentialSource::StandardChain;
    let running = runtime.block_on(async {
        app::prepare(config, Clock::system(), source_of_keys, &sockets, predecessor)
    });
    for address in sockets.left() {
        tracing::warn!(
            "no listener of the configuration has the address of the socket {address}: it is closed"
        );
    }
    let running = running.map_err(|error| with_help(&error, source))?;
    Ok((runtime, running))
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

/// The signals that end or change a serving process.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    /// nginx's signals: reopen the log, stop gracefully, replace the program.
    reopen: Signal,
    quit: Signal,
    upgrade: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            reopen: signal(SignalKind::user_defined1())?,
            quit: signal(SignalKind::quit())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

/// How a process stops serving.
enum End {
    Stopped,
    Replaced(Box<Successor>),
}

/// Serves until a signal stops it, or another process replaces it.
async fn serve(
    running: Running,
    source: &ConfigSource,
    predecessor: Option<Predecessor>,
) -> miette::Result<ExitCode> {
    let signals = Signals::new().map_err(report)?;
    let program = this_program();
    match predecessor {
        Some(predecessor) => {
            running.ready().await;
            running.replace(predecessor).map_err(report)?;
        }
        None => running.serve(),
    }
    tracing::info!(
        http = list(&running.http),
        https = list(&running.https),
        admin = list(running.admin_address.as_slice()),
        distributions = names(&running),
        "forebay {} is serving",
        env!("CARGO_PKG_VERSION")
    );
    systemd::ready("serving");
    let is_complete = match until_end(&running, source, &program, signals).await? {
        End::Stopped => {
            systemd::stopping(running.longest_stop());
            tracing::info!(
                "stopping: `/readyz` returns 503 for `drain_delay`, then connections are refused and requests in progress finish"
            );
            running.stop().await
        }
        End::Replaced(successor) => running.finish(*successor).await,
    };
    if !is_complete {
        tracing::warn!("some connections did not finish within `drain` and were closed");
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Carries out orders and signals until the process stops serving.
async fn until_end(
    running: &Running,
    source: &ConfigSource,
    program: &Program,
    mut signals: Signals,
) -> miette::Result<End> {
    let mut orders = running.take_orders().ok_or_else(|| report("already serving"))?;
    let mut watchdog = Watchdog::new();
    let mut upgrade = Upgrade::default();
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => drop(reload(running, source, &upgrade)),
            Some(order) = orders.recv() => match order {
                Order::Reload(outcome) => {
                    // The caller may be gone.
                    let _ = outcome.send(reload(running, source, &upgrade));
                }
                Order::Upgrade(outcome) => upgrade.begin(running, program, Some(outcome)),
            },
            _ = signals.upgrade.recv() => upgrade.begin(running, program, None),
            outcome = upgrade.ended() => {
                if let Some(successor) = upgrade.report(outcome) {
                    return Ok(End::Replaced(Box::new(successor)));
                }
            }
            () = watchdog.next_sign() => {
                if running.is_healthy() {
                    systemd::is_alive();
                }
            }
            _ = signals.reopen.recv() => running.reopen_log(),
            _ = signals.terminate.recv() => return Ok(End::Stopped),
            _ = signals.quit.recv() => return Ok(End::Stopped),
            _ = tokio::signal::ctrl_c() => return Ok(End::Stopped),
        }
    }
}

/// An upgrade in progress, if there is one.
#[derive(Default)]
struct Upgrade<'a> {
    progress: Option<LocalBoxFuture<'a, Result<Successor, UpgradeError>>>,
    /// Where the outcome goes.
    callers: Vec<oneshot::Sender<UpgradeOutcome>>,
}

impl<'a> Upgrade<'a> {
    /// Begins to replace the process. Callers during an upgrade get the outcome of that one.
    fn begin(
        &mut self,
        running: &'a Running,
        program: &'a Program,
        caller: Option<oneshot::Sender<UpgradeOutcome>>,
    ) {
        self.callers.extend(caller);
        if self.progress.is_none() {
            tracing::info!(program = %program.path.display(), "starting a process that replaces this one");
            self.progress = Some(Box::pin(running.upgrade(program)));
        }
    }

    /// Waits for the outcome. Never ends without an upgrade.
    async fn ended(&mut self) -> Result<Successor, UpgradeError> {
        match &mut self.progress {
            Some(progress) => progress.await,
            None => pending().await,
        }
    }

    /// Logs the outcome and answers the callers. Returns the process that serves from now on.
    fn report(&mut self, outcome: Result<Successor, UpgradeError>) -> Option<Successor> {
        self.progress = None;
        let answer = match &outcome {
            Ok(successor) => {
                systemd::replaced_by(successor.process);
                let upgraded = Upgraded {
                    process: successor.process,
                    version: successor.version.clone(),
                    replaced: std::process::id(),
                };
                tracing::info!("replaced: {}", upgraded.summary());
                Ok(upgraded)
            }
            Err(error) => {
                tracing::error!("the process was not replaced and continues: {error}");
                Err(error.to_string())
            }
        };
        for caller in self.callers.drain(..) {
            // It may be gone.
            let _ = caller.send(answer.clone());
        }
        outcome.ok()
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
    if upgrade.progress.is_some() {
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
