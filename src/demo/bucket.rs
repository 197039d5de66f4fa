//! An S3 server in this process. It verifies signatures like any other; nothing about it is specific to Forebay.

use std::{io, net::SocketAddr, path::PathBuf};

use aws_credential_types::Credentials;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{
    Body, S3, S3Request, S3Result,
    access::{S3Access, S3AccessContext},
    auth::SimpleAuth,
    dto::{PutObjectInput, StreamingBlob},
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use super::media::{Sample, samples};

/// The bucket's name.
pub(super) const NAME: &str = "demo-media";

/// The region in its signatures.
pub(super) const REGION: &str = "us-east-1";

/// Errors of the embedded bucket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketError {
    /// The temporary folder or the loopback address failed.
    #[error("the embedded bucket cannot be started: {0}")]
    System(#[from] io::Error),
    /// The embedded server failed.
    #[error("the embedded bucket cannot be filled: {0}")]
    Fill(String),
}

/// A running bucket in a temporary folder.
pub(super) struct EmbeddedBucket {
    pub(super) address: SocketAddr,
    pub(super) keys: Credentials,
    accepting: JoinHandle<()>,
    _folder: TempDir,
}

impl EmbeddedBucket {
    /// Generates random keys, fills the bucket, and listens on a free loopback port.
    pub(super) async fn start() -> Result<Self, BucketError> {
        let folder = tempfile::Builder::new().prefix("forebay-demo-").tempdir()?;
        std::fs::create_dir(folder.path().join(NAME))?;
        let failed = |error: &dyn std::fmt::Debug| BucketError::Fill(format!("{error:?}"));
        let server = FileSystem::new(folder.path()).map_err(|error| failed(&error))?;
        for sample in samples() {
            let put = server.put_object(put_request(sample)).await;
            put.map_err(|error| failed(&error))?;
        }
        let keys = Credentials::new(random(20), random(40), None, None, "demo");
        let mut builder = S3ServiceBuilder::new(server);
        builder.set_auth(SimpleAuth::from_single(keys.access_key_id(), keys.secret_access_key()));
        builder.set_access(SignedObjects(folder.path().to_owned()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, builder.build()));
        Ok(Self { address, keys, accepting, _folder: folder })
    }
}

/// Admits signed requests for objects. The file system behind the bucket would answer 500 for a directory.
struct SignedObjects(PathBuf);

#[async_trait::async_trait]
impl S3Access for SignedObjects {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied));
        }
        match context.s3_path().get_object_key() {
            Some(key) if self.0.join(NAME).join(key).is_dir() => Err(s3_error!(NoSuchKey)),
            _ => Ok(()),
        }
    }
}

impl Drop for EmbeddedBucket {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, service: S3Service) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(connection);
    }
}

fn put_request(sample: Sample) -> S3Request<PutObjectInput> {
    let input = PutObjectInput {
        bucket: NAME.into(),
        key: sample.key.into(),
        content_length: i64::try_from(sample.content.len()).ok(),
        content_type: Some(sample.content_type.into()),
        body: Some(StreamingBlob::from(Body::from(sample.content))),
        ..PutObjectInput::default()
    };
    S3Request {
        input,
        method: http::Method::PUT,
        uri: http::Uri::default(),
        headers: http::HeaderMap::new(),
        extensions: http::Extensions::new(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

fn random(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}
