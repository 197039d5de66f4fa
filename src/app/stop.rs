//! How an instance ends.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;

use super::Running;
use crate::base::clock::Stopwatch;

/// The part of the drain timeout reserved for writing the last access log lines and joining workers. The last traces take at
/// most as long.
const CLOSING: Duration = Duration::from_secs(1);

/// How long it waits for the last answers of the admin listener.
const ANSWERS: Duration = Duration::from_secs(5);

/// How long a process that was replaced continues with its open connections.
const REPLACED: Duration = Duration::from_hours(1);

impl Running {
    /// Stops accepting connections, drains the open ones, then stops. Returns `true` if all of them finished.
    ///
    /// First `/readyz` returns 503 for `drain_delay`, so that load balancers stop sending requests, and connections close
    /// with their next response. A process that this one replaced stops, too. The rest takes at most `drain`, of which the
    /// access log takes at most one second, even if standard output is blocked.
    pub async fn stop(mut self) -> bool {
        if let Some(replaced) = self.replaced.take() {
            replaced.stop();
        }
        let (delay, patience) = {
            let config = self.config.lock();
            (config.listen.drain_delay, config.listen.drain)
        };
        self.admin.begin_drain();
        self.admin.listen_to(&[], &[]);
        self.drain.announce();
        tokio::time::sleep(delay).await;
        self.close(patience).await
    }

    /// Serves the open connections to their end, because another process serves all others. Waits for the process that
    /// this one replaced, too: through this one, the newest learns what that one invalidates. Then stops.
    /// HTTP/1.1 connections close with their next response. `stopped` ends this early. Returns `true` if all of them
    /// finished.
    pub async fn finish(mut self, stopped: impl Future<Output = ()>) -> bool {
        let mut replaced = self.replaced.take();
        // Readers of the log go to the other process.
        self.admin.begin_drain();
        self.background.leave_delivery();
        let last_requests = async {
            if !self.drain.finished(REPLACED).await {
                tracing::warn!("some connections did not finish within an hour and are closed");
            }
            if let Some(replaced) = &mut replaced
                && timeout(REPLACED, replaced.ended()).await.is_err()
            {
                tracing::warn!("the process that this one had replaced does not end");
            }
        };
        let mut is_stopped = false;
        tokio::select! {
            () = last_requests => {}
            () = stopped => is_stopped = true,
        }
        if let Some(replaced) = replaced.filter(|_| is_stopped) {
            replaced.stop();
        }
        // An operator may still wait for an answer.
        self.admin_drain.begin();
        self.admin_drain.finished(ANSWERS).await;
        let patience = self.config.lock().listen.drain;
        self.close(patience).await
    }

    /// Accepts no more connections, drains the open ones, then stops. Returns `true` if all of them finished.
    async fn close(self, patience: Duration) -> bool {
        let watch = Stopwatch::start();
        self.sockets.lock().close();
        self.drain.begin();
        let finished =
            self.drain.finished(patience.saturating_sub((patience / 10).min(CLOSING))).await;
        let late_invalidations = self.upgrade.late_invalidations.lock().take();
        if let Some(late_invalidations) = late_invalidations {
            // The access log needs the rest.
            let left = patience.saturating_sub(watch.elapsed()) / 2;
            if timeout(left, late_invalidations.finish()).await.is_err() {
                tracing::error!("the other process may not know of the last invalidations");
            }
        }
        self.admin_drain.begin();
        self.stop.send_replace(true);
        let Self { workers, access_log, renewal, edge, cluster, background, .. } = self;
        if let Some(task) = renewal.and_then(Mutex::into_inner) {
            task.abort();
        }
        let left = patience.saturating_sub(watch.elapsed());
        // These calls block, and the runtime may have other work.
        let serving = tokio::task::spawn_blocking(move || {
            // Files in CloudFront's formats may have to be converted.
            let is_in_files = access_log.is_in_files();
            let patience = if is_in_files { left / 2 } else { left.min(CLOSING) };
            if !access_log.close(patience) {
                tracing::warn!(
                    "{}",
                    if is_in_files {
                        "some files of the access log are not finished; the next process finishes them"
                    } else {
                        "the last lines of the access log are lost: its file or standard output cannot be written"
                    }
                );
            }
            workers.join();
        });
        let ended = async {
            serving.await?;
            let left = patience.saturating_sub(watch.elapsed()) / 2;
            let rest = async {
                if let Some(cluster) = cluster {
                    cluster.leave().await;
                }
                let close =
                    move || edge.store().close_disk(patience.saturating_sub(watch.elapsed()) / 2);
                tokio::task::spawn_blocking(close).await
            };
            tokio::join!(rest, Box::pin(background.finish(left, CLOSING))).0
        };
        matches!(timeout(left, ended).await, Ok(Ok(()))) && finished
    }
}
