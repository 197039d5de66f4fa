//! Uploads finished files.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, header};
use tokio::{sync::oneshot, time::sleep};

use super::{
    DeliveryOptions,
    waiting_files::{WaitingFile, waiting_files},
};
use crate::{
    aws::{Credentials, describe},
    base::{clock::Clock, metrics::DeliveryMetrics},
    cache::key::CanonicalPath,
    outbound::{Error, Service, TrustError},
};

/// How often the task looks for finished files. They are finished each hour, and earlier if they are large.
const ROUND: Duration = Duration::from_secs(10);

/// The pause after a failure, which doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Delivers the finished files of a directory.
pub(crate) struct Deliverer {
    folder: PathBuf,
    options: DeliveryOptions,
    service: Service,
    credentials: Arc<Credentials>,
    metrics: DeliveryMetrics,
}

/// The reason why a file was not delivered.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error("cannot read the log files: {0}")]
    Files(#[from] io::Error),
    #[error(transparent)]
    Request(#[from] Error),
}

impl DeliveryError {
    fn advice(&self) -> String {
        match self {
            Self::Files(_) => "check the directory in `access_log.path`".into(),
            Self::Request(Error::S3 { code, .. }) if code == "AccessDenied" => {
                "allow `s3:PutObject` on the bucket in `access_log.s3`".into()
            }
            Self::Request(error) => error.advice(),
        }
    }
}

impl Deliverer {
    /// A deliverer of the files in `folder`.
    ///
    /// # Errors
    /// When there are no certificates to trust.
    pub(crate) fn new(
        folder: &Path,
        options: &DeliveryOptions,
        credentials: Arc<Credentials>,
        metrics: DeliveryMetrics,
    ) -> Result<Self, TrustError> {
        let service = Service::at(options.address.clone(), "s3", &options.region, None)?;
        let (folder, options) = (folder.to_owned(), options.clone());
        Ok(Self { folder, options, service, credentials, metrics })
    }

    /// Delivers files until `stopped` completes, then once more.
    pub(crate) async fn run(self, mut stopped: oneshot::Receiver<()>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let wait = match self.deliver_all().await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    ROUND
                }
                Err(error) => {
                    let (bucket, advice) = (&self.options.bucket, error.advice());
                    let error = describe(&error);
                    tracing::error!(bucket, error, advice, "access logs cannot be delivered");
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    wait
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                _ = &mut stopped => {
                    if let Err(error) = self.deliver_all().await {
                        let error = describe(&error);
                        tracing::warn!(error, "the last access logs are delivered by the next start");
                    }
                    return;
                }
            }
        }
    }

    /// Delivers all finished files, the oldest first.
    async fn deliver_all(&self) -> Result<(), DeliveryError> {
        let (folder, now) = (self.folder.clone(), Clock::system().now().into());
        let found = tokio::task::spawn_blocking(move || waiting_files(&folder, now)).await;
        let mut found = found.map_err(io::Error::other)??;
        self.remove_excess(&mut found).await?;
        for file in found {
            self.deliver(&file).await?;
            self.metrics.delivered(file.length);
            self.forget(&file).await?;
        }
        Ok(())
    }

    /// Removes the oldest files beyond the most bytes that may wait.
    async fn remove_excess(&self, found: &mut Vec<WaitingFile>) -> io::Result<()> {
        let mut waiting: u64 = found.iter().map(|file| file.length).sum();
        let mut lost = 0;
        for file in found.iter().take_while(|file| {
            let is_excess = waiting > self.options.max_waiting;
            waiting = waiting.saturating_sub(file.length);
            is_excess
        }) {
            self.forget(file).await?;
            self.metrics.lost();
            lost += 1;
        }
        found.drain(..lost);
        self.metrics.waiting(found.iter().map(|file| file.length).sum());
        if lost > 0 {
            tracing::error!(
                files = lost,
                "access logs are lost: more than `access_log.s3.max_waiting` could not be delivered"
            );
        }
        Ok(())
    }

    async fn deliver(&self, file: &WaitingFile) -> Result<(), DeliveryError> {
        let content = match tokio::fs::read(&file.path).await {
            // Another process has delivered it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let keys = self.credentials.current().ok_or(Error::NoCredentials)?;
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
        let target = self.target(&file.path);
        let request = (Method::PUT, &*target);
        let answer = self.service.call(Some(&keys), request, fields, content.into()).await?;
        match Error::of_answer(&answer) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// The target of a file's request: its path in the directory is the end of its key.
    fn target(&self, path: &Path) -> String {
        let name = path.strip_prefix(&self.folder).unwrap_or(path).to_string_lossy();
        let mut target = self.options.address.base_path.clone();
        CanonicalPath::of_key(&format!("{}{name}", self.options.prefix))
            .encode_for_bucket(&mut target);
        target
    }

    async fn forget(&self, file: &WaitingFile) -> io::Result<()> {
        match tokio::fs::remove_file(&file.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
