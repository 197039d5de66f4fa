//! The export of traces.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use super::{Error, named_files::collector_headers};
use crate::{
    base::metrics::Metrics,
    config::Config,
    traces::{Exporter, Tracer},
};

/// The tracer of a configuration and the exporter of its spans, if requests are traced.
pub(super) fn tracing_of(
    config: &Config,
    metrics: &Metrics,
) -> Result<Option<(Arc<Tracer>, Exporter)>, Error> {
    let Some(options) = &config.traces else { return Ok(None) };
    let headers = collector_headers(options)?;
    let tracer = Tracer::new(options, metrics.traces());
    let exporter = Exporter::new(options, headers, Arc::clone(tracer.queue()));
    Ok(Some((Arc::new(tracer), exporter.map_err(Error::Collector)?)))
}

/// The task that sends traces.
pub(super) struct ExportTask {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl ExportTask {
    /// Begins to send traces. Must be called within a runtime.
    pub(super) fn spawn(exporter: Exporter) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(exporter.run(stopped)) }
    }

    /// Sends the traces that wait, for at most `patience`.
    pub(super) async fn finish(self, patience: Duration) {
        // It fails if the task has ended.
        let _ = self.stop.send(());
        if timeout(patience, self.task).await.is_err() {
            tracing::warn!("some traces could not be sent before the end");
        }
    }
}
