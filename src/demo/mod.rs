//! The demo: an embedded private bucket with sample media, and a guided tour of Forebay.

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

/// Errors that prevent the demo from running.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The embedded bucket failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// An address on the command line is invalid.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The bucket's credentials are invalid.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Forebay itself failed.
    #[error(transparent)]
    App(#[from] app::Error),
}

/// A bucket with Forebay in front of it. Dropping it removes the bucket's folder.
pub(crate) struct Demo {
    bucket: EmbeddedBucket,
    /// The Forebay in front of the bucket.
    pub forebay: Running,
}

impl Demo {
    /// Starts both; ports may be 0. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the folder or an address is unavailable.
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
            ..Bucket::default()
        };
        // The output shows only the tour's own lines, not a log of them.
        let text =
            command_line.to_toml().replacen("[listen]", "[listen]\nmax_connections = 256", 1)
                + "\n[access_log]\nformat = \"off\"\n";
        let config = Config::compile("the demo's configuration", &text, Path::new(""))?;
        let credentials = Credentials::new();
        credentials.install(&bucket.keys)?;
        let source = CredentialSource::Given(Arc::clone(&credentials));
        let forebay = app::start(config, Clock::system(), source)?;
        Ok(Self { bucket, forebay })
    }

    /// The tour of this demo.
    #[must_use]
    pub(crate) fn tour(&self) -> Tour {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        // If Forebay listens on all addresses, the tour uses the loopback address.
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

    /// Stops both.
    pub(crate) async fn stop(self) {
        self.forebay.stop().await;
    }
}
