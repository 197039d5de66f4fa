//! Uploads finished files.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, header};
use tokio::{sync::oneshot, time::sleep};

use super::{DeliveryOptions, empty_directories::remove_empty_directories};
use crate::{
    access_log::{self, LogFile},
    aws::{Credentials, describe},
    base::{clock::Clock, metrics::DeliveryMetrics},
    cache::key::CanonicalPath,
    outbound::{Error, ErrorClass, Service, TrustError},
};

/// How often the task looks for finished files. They are finished each hour, and earlier if they are large.
const ROUND: Duration = Duration::from_secs(10);

/// The pause after a failure, which doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Delivers the finished files of a directory.
pub(crate) struct Deliverer {
    folder: PathBuf,
    has_hive_directories: bool,
    options: DeliveryOptions,
    service: Service,
    credentials: Arc<Credentials>,
    metrics: DeliveryMetrics,
}

/// The reason why a file was not delivered.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error("cannot read or remove the log files: {0}")]
    Files(#[from] io::Error),
    #[error(transparent)]
    Request(#[from] Error),
}

impl DeliveryError {
    /// Whether it may concern one file only.
    const fn is_about_file(&self) -> bool {
        matches!(self, Self::Request(Error::S3 { .. } | Error::ResponseTimeout))
    }

    fn advice(&self) -> String {
        match self {
            Self::Files(_) => "check the directory in `access_log.path`".into(),
            Self::Request(Error::S3 { code, .. }) if code == "AccessDenied" => {
                "allow `s3:PutObject` on the bucket in `access_log.s3`".into()
            }
            Self::Request(error @ (Error::NoCredentials | Error::CredentialsPending)) => {
                error.advice()
            }
            Self::Request(error @ Error::S3 { region: Some(_), .. }) => error.advice(),
            Self::Request(_) => {
                "check `bucket`, `region` and `endpoint` of `access_log.s3`, and the credentials"
                    .into()
            }
        }
    }
}

impl Deliverer {
    /// A deliverer of the files that an access log has in `folder`.
    ///
    /// # Errors
    /// When there are no certificates to trust.
    pub(crate) fn new(
        folder: &Path,
        log: &access_log::Options,
        options: &DeliveryOptions,
        credentials: Arc<Credentials>,
        metrics: DeliveryMetrics,
    ) -> Result<Self, TrustError> {
        let service = Service::at(options.address.clone(), "s3", &options.region, None)?;
        Ok(Self {
            folder: folder.to_owned(),
            has_hive_directories: log.hive_directories,
            options: options.clone(),
            service,
            credentials,
            metrics,
        })
    }

    /// Delivers files until `stopped` completes, then once more.
    pub(crate) async fn run(self, mut stopped: oneshot::Receiver<()>) {
        let mut pause = FIRST_PAUSE;
        let mut is_failing = false;
        loop {
            let wait = match self.deliver_all().await {
                Ok(()) => {
                    if std::mem::replace(&mut is_failing, false) {
                        tracing::info!(
                            bucket = self.options.bucket,
                            "access logs are delivered again"
                        );
                    }
                    pause = FIRST_PAUSE;
                    ROUND
                }
                Err(error) => {
                    let (bucket, advice) = (&self.options.bucket, error.advice());
                    let error = describe(&error);
                    tracing::error!(bucket, error, advice, "access logs cannot be delivered");
                    is_failing = true;
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

    /// Delivers all finished files, the oldest first. After an error that concerns one file, it continues with the next, and
    /// returns the first error.
    async fn deliver_all(&self) -> Result<(), DeliveryError> {
        // The first ones may not have been loaded yet.
        self.credentials.first().await;
        let mut first_error = None;
        for file in self.waiting().await? {
            match self.deliver(&file).await {
                Ok(()) => {}
                Err(error) => {
                    let is_about_file = error.is_about_file();
                    first_error.get_or_insert(error);
                    if !is_about_file {
                        break;
                    }
                }
            }
        }
        if let Some(error) = first_error {
            self.remove_excess(self.waiting().await?).await?;
            return Err(error);
        }
        self.metrics.waiting(0);
        let (folder, now) = (self.folder.clone(), Clock::system().now().into());
        if self.has_hive_directories {
            let removed =
                tokio::task::spawn_blocking(move || remove_empty_directories(&folder, now));
            removed.await.map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// The finished files, the oldest first.
    async fn waiting(&self) -> io::Result<Vec<LogFile>> {
        let (folder, hive) = (self.folder.clone(), self.has_hive_directories);
        let found = tokio::task::spawn_blocking(move || LogFile::all(&folder, hive)).await;
        let mut found = found.map_err(io::Error::other)??;
        found.retain(|file| file.is_finished);
        self.metrics.waiting(found.iter().map(|file| file.length).sum());
        Ok(found)
    }

    /// Removes the oldest files beyond the most bytes that may wait.
    async fn remove_excess(&self, files: Vec<LogFile>) -> io::Result<()> {
        let mut waiting: u64 = files.iter().map(|file| file.length).sum();
        let mut lost = 0;
        for file in files {
            if waiting <= self.options.max_waiting {
                break;
            }
            remove(&file).await?;
            waiting -= file.length;
            lost += 1;
        }
        self.metrics.lost(lost);
        self.metrics.waiting(waiting);
        if lost > 0 {
            tracing::error!(
                files = lost,
                "access logs are lost: more than `access_log.s3.max_waiting` could not be delivered"
            );
        }
        Ok(())
    }

    /// Uploads a file, and removes it here.
    async fn deliver(&self, file: &LogFile) -> Result<(), DeliveryError> {
        let content = match tokio::fs::read(&file.path).await {
            // Another process has delivered it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let keys = self.credentials.current().ok_or(if self.credentials.is_loading() {
            Error::CredentialsPending
        } else {
            Error::NoCredentials
        })?;
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(&file.path)));
        let target = self.target(&file.path);
        let request = (Method::PUT, &*target);
        let answer = self.service.call(Some(&keys), request, fields, content.into()).await?;
        if let Some(error) = Error::of_answer(&answer) {
            if error.class() == ErrorClass::Configuration {
                self.credentials.wake();
            }
            return Err(error.into());
        }
        // S3 returns the entity tag of what it has stored.
        if !answer.status.is_success() || !answer.fields.contains_key(header::ETAG) {
            return Err(Error::UnexpectedStatus(answer.status).into());
        }
        self.metrics.delivered(file.length);
        Ok(remove(file).await?)
    }

    /// The target of a file's request: its path in the directory is the end of its key.
    fn target(&self, path: &Path) -> String {
        let name = path.strip_prefix(&self.folder).unwrap_or(path).to_string_lossy();
        let mut target = self.options.address.base_path.clone();
        CanonicalPath::of_key(&format!("{}{name}", self.options.prefix))
            .encode_for_bucket(&mut target);
        target
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension() {
        Some(extension) if extension == "parquet" => "application/vnd.apache.parquet",
        _ => "application/gzip",
    }
}

/// Removes a file, unless another process has done so.
async fn remove(file: &LogFile) -> io::Result<()> {
    match tokio::fs::remove_file(&file.path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
