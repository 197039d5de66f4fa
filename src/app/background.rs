//! Tasks that are independent of requests, and that have something left to do when Forebay stops.

use std::{sync::Arc, time::Duration};

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

/// The tasks before they begin, and the tracer whose spans one of them sends.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) tracer: Option<Arc<Tracer>>,
    exporter: Option<Exporter>,
    deliverer: Option<Deliverer>,
}

impl Prepared {
    /// The tasks of a configuration.
    pub(super) fn new(
        config: &Config,
        metrics: &Metrics,
        credentials: &Arc<Credentials>,
    ) -> Result<Self, Error> {
        let mut prepared = Self::default();
        if let Some(options) = &config.traces {
            let headers = collector_headers(options)?;
            let tracer = Tracer::new(options, metrics.traces());
            let exporter = Exporter::new(options, headers, Arc::clone(tracer.queue()));
            prepared.exporter = Some(exporter.map_err(Error::Collector)?);
            prepared.tracer = Some(Arc::new(tracer));
        }
        let log = &config.access_log;
        let folder = log.path.as_ref().filter(|_| log.format.is_some_and(Format::is_in_files));
        if let (Some(options), Some(folder)) = (&config.log_delivery, folder) {
            let (credentials, metrics) = (Arc::clone(credentials), metrics.delivery());
            let deliverer = Deliverer::new(folder, log, options, credentials, metrics);
            prepared.deliverer = Some(deliverer.map_err(Error::Delivery)?);
        }
        Ok(prepared)
    }

    /// Begins the tasks. Must be called within a runtime.
    pub(super) fn spawn(self) -> BackgroundTasks {
        BackgroundTasks {
            export: self.exporter.map(|exporter| {
                BackgroundTask::spawn("sending the last traces", |stopped| exporter.run(stopped))
            }),
            delivery: self.deliverer.map(|deliverer| {
                BackgroundTask::spawn("delivering the last access logs", |stopped| {
                    deliverer.run(stopped)
                })
            }),
        }
    }
}

/// The tasks that run.
pub(super) struct BackgroundTasks {
    export: Option<BackgroundTask>,
    delivery: Option<BackgroundTask>,
}

impl BackgroundTasks {
    /// Leaves the delivery of access logs to the process that replaces this one, which has the same directory.
    pub(super) fn leave_delivery(&mut self) {
        if let Some(delivery) = self.delivery.take() {
            delivery.task.abort();
        }
    }

    /// Lets the tasks do what is left: each may take `patience`, and that of traces at most `export`.
    pub(super) async fn finish(self, patience: Duration, export: Duration) {
        let finish = async |task: Option<BackgroundTask>, patience| {
            if let Some(task) = task {
                task.finish(patience).await;
            }
        };
        tokio::join!(finish(self.export, export.min(patience)), finish(self.delivery, patience));
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

    async fn finish(mut self, patience: Duration) {
        // It fails if the task has ended.
        let _ = self.stop.send(());
        if timeout(patience, &mut self.task).await.is_err() {
            tracing::warn!("there was no time left for {}", self.name);
            self.task.abort();
        }
    }
}
