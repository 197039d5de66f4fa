//! Work that is independent of requests, and of which some is left when Forebay stops.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use super::{Error, named_files::collector_headers};
use crate::{
    access_log::Format,
    aws::Credentials,
    base::metrics::Metrics,
    config::Config,
    log_delivery::Deliverer,
    traces::{Exporter, Tracer},
};

/// What there is to do, before it begins.
#[derive(Default)]
pub(super) struct Work {
    pub(super) tracer: Option<Arc<Tracer>>,
    exporter: Option<Exporter>,
    deliverer: Option<Deliverer>,
}

impl Work {
    /// What a configuration demands: to send traces, to deliver files of the access log.
    pub(super) fn of(
        config: &Config,
        metrics: &Metrics,
        credentials: &Arc<Credentials>,
    ) -> Result<Self, Error> {
        let mut work = Self::default();
        if let Some(options) = &config.traces {
            let headers = collector_headers(options)?;
            let tracer = Tracer::new(options, metrics.traces());
            let exporter = Exporter::new(options, headers, Arc::clone(tracer.queue()));
            work.exporter = Some(exporter.map_err(Error::Collector)?);
            work.tracer = Some(Arc::new(tracer));
        }
        let log = &config.access_log;
        let folder = log.path.as_ref().filter(|_| log.format.is_some_and(Format::is_in_files));
        if let (Some(options), Some(folder)) = (&config.log_delivery, folder) {
            let (credentials, metrics) = (Arc::clone(credentials), metrics.delivery());
            let deliverer = Deliverer::new(folder, options, credentials, metrics);
            work.deliverer = Some(deliverer.map_err(Error::Delivery)?);
        }
        Ok(work)
    }

    /// Begins it. Must be called within a runtime.
    pub(super) fn begin(self) -> Background {
        let exporter = self.exporter.map(|exporter| {
            BackgroundTask::spawn("sending the last traces", |stopped| exporter.run(stopped))
        });
        let deliverer = self.deliverer.map(|deliverer| {
            BackgroundTask::spawn("delivering the last access logs", |stopped| {
                deliverer.run(stopped)
            })
        });
        Background(exporter.into_iter().chain(deliverer).collect())
    }
}

/// The tasks that do it.
pub(super) struct Background(Vec<BackgroundTask>);

impl Background {
    /// Does what is left, for at most `patience`.
    pub(super) async fn finish(self, patience: Duration) {
        join_all(self.0.into_iter().map(|task| task.finish(patience))).await;
    }
}

struct BackgroundTask {
    /// For the log.
    name: &'static str,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl BackgroundTask {
    fn spawn<F>(name: &'static str, task: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        Self { name, stop, task: tokio::spawn(task(stopped)) }
    }

    async fn finish(self, patience: Duration) {
        // It fails if the task has ended.
        let _ = self.stop.send(());
        if timeout(patience, self.task).await.is_err() {
            tracing::warn!("there was no time left for {}", self.name);
        }
    }
}
