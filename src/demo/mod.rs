//! The demo: an embedded private bucket with sample media, and a guided tour through Forebay.

mod bucket;
mod client;
mod media;
mod tour;

use std::{net::SocketAddr, path::Path, sync::Arc};

pub(crate) use bucket::BucketError;
use bucket::EmbeddedBucket;
pub(crate) use tour::Tour;

use crate::{
    app::{self, CredentialSource, Running},
    aws::{Credentials, KeysError},
    base::clock::Clock,
    config::{Bucket, Config, Faults},
};

/// Why the demo cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The embedded bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// An address of the command line.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The bucket's credentials.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Forebay itself.
    #[error(transparent)]
    App(#[from] app::Error),
}

/// A bucket and a Forebay in front of it. The bucket's folder is removed with it.
pub(crate) struct Demo {
    bucket: EmbeddedBucket,
    /// The Forebay in front of the bucket.
    pub forebay: Running,
}

impl Demo {
    /// Starts both; ports may be 0. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the folder or an address cannot be had.
    pub(crate) async fn start(listen: &str, admin: &str) -> Result<Self, Error> {
        let bucket = EmbeddedBucket::start().await?;
        let command_line = Bucket {
            bucket: bucket::NAME.into(),
            region: bucket::REGION.into(),
            endpoint: Some(format!("http://{}", bucket.address)),
            path_style: true,
            default_root_object: Some("index.html".into()),
            listen: listen.into(),
            admin: Some(admin.into()),
        };
        // The tour's own lines are to be seen, not a log of them.
        let text = command_line.to_toml() + "\n[access_log]\nformat = \"off\"\n";
        let config = Config::compile("the demo's configuration", &text, Path::new(""))?;
        let credentials = Credentials::new();
        credentials.install(&bucket.keys)?;
        let source = CredentialSource::Given(Arc::clone(&credentials));
        let forebay = app::start(config, Clock::system(), source)?;
        Ok(Self { bucket, forebay })
    }

    /// The tour through this demo.
    #[must_use]
    pub(crate) fn tour(&self) -> Tour {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        // Where all addresses are listened on, the tour goes to this machine's own.
        let reachable = |address: Option<SocketAddr>| match address.unwrap_or(nowhere) {
            any if any.ip().is_unspecified() => SocketAddr::new(nowhere.ip(), any.port()),
            address => address,
        };
        Tour {
            bucket: self.bucket.address,
            forebay: reachable(self.forebay.http.first().copied()),
            admin: reachable(self.forebay.admin_address),
        }
    }

    /// Ends both.
    pub(crate) async fn stop(self) {
        self.forebay.stop().await;
    }
}
