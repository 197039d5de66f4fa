//! The reasons why Forebay cannot start.

use std::{io, path::PathBuf};

use crate::{
    access::restrict::DatabaseError, base::key_file::KeysError, cache::store::OpenError,
    control::SecretError, outbound::TrustError, server::BindError, tls::TlsError,
};

/// Forebay could not start or apply a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An origin's trusted certificates cannot be loaded.
    #[error("origin `{origin}`: {source}")]
    Trust {
        /// The origin's id.
        origin: String,
        /// The reason.
        #[source]
        source: TrustError,
    },
    /// The access log cannot be opened.
    #[error("the access log `{}` cannot be opened: {source}", path.display())]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// Threads or sockets cannot be created.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// A secret of the admin callers cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The state folder cannot be used.
    #[error("the state directory `{}` cannot be used: {source}", folder.display())]
    State {
        /// The folder.
        folder: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// The disk cache cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The keys of the cluster cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The geography database cannot be used.
    #[error(transparent)]
    Geography(#[from] DatabaseError),
}
