//! The upgrade of a serving process.

use std::{future::pending, path::PathBuf};

use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use super::systemd;
use crate::{
    app::{Program, Running, Successor, UpgradeError},
    control::{UpgradeOutcome, Upgraded},
};

/// An upgrade in progress, if there is one.
#[derive(Default)]
pub(super) struct Upgrade<'a> {
    progress: Option<LocalBoxFuture<'a, Result<Successor, UpgradeError>>>,
    program: PathBuf,
    /// Where the outcome goes.
    callers: Vec<oneshot::Sender<UpgradeOutcome>>,
}

impl<'a> Upgrade<'a> {
    /// Begins to replace the process. Callers during an upgrade get the outcome of that one.
    pub(super) fn begin(
        &mut self,
        running: &'a Running,
        program: &'a Program,
        caller: Option<oneshot::Sender<UpgradeOutcome>>,
    ) {
        self.callers.extend(caller);
        if self.progress.is_none() {
            tracing::info!(program = %program.path.display(), "starting a process that replaces this one");
            self.program.clone_from(&program.path);
            self.progress = Some(Box::pin(running.upgrade(program)));
        }
    }

    /// Waits for the outcome. Never ends without an upgrade.
    pub(super) async fn ended(&mut self) -> Result<Successor, UpgradeError> {
        match &mut self.progress {
            Some(progress) => progress.await,
            None => pending().await,
        }
    }

    /// Whether there is one.
    pub(super) const fn is_in_progress(&self) -> bool {
        self.progress.is_some()
    }

    /// Logs the outcome and answers the callers. Returns the process that serves from now on.
    pub(super) fn report(&mut self, outcome: Result<Successor, UpgradeError>) -> Option<Successor> {
        self.progress = None;
        let answer = match &outcome {
            Ok(successor) => {
                systemd::replaced_by(successor.process);
                let upgraded = Upgraded {
                    process: successor.process,
                    version: successor.version.clone(),
                    replaced: std::process::id(),
                    program: self.program.display().to_string(),
                };
                tracing::info!("{}", upgraded.summary());
                Ok(upgraded)
            }
            Err(error @ UpgradeError::Cancelled) => {
                tracing::warn!("the upgrade was cancelled, because this process stops");
                Err(error.to_string())
            }
            Err(error) => {
                tracing::error!("the upgrade failed; this process keeps serving: {error}");
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
