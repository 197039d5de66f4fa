//! The reasons why Forebay cannot start.

use std::{borrow::Cow, io, path::PathBuf};

use crate::{
    access::restrict::DatabaseError, acme::AcmeError, base::key_file::KeysError,
    cache::store::OpenError, control::SecretError, outbound::TrustError, server::BindError,
    tls::TlsError,
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
    /// The certificates to trust for the collector of traces cannot be loaded.
    #[error("`traces`: {0}")]
    Collector(#[source] TrustError),
    /// The certificates to trust for the bucket of access logs cannot be loaded.
    #[error("`access_log.s3`: {0}")]
    Delivery(#[source] TrustError),
    /// The access log cannot be opened.
    #[error("the access log `{}` cannot be opened: {source}", path.display())]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// The account or the certificates of an authority cannot be stored.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    File {
        /// The configuration key that names it.
        key: &'static str,
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
    /// The process that this one replaces does not hand over.
    #[error("this process cannot take over from the running one: {0}")]
    Predecessor(#[source] io::Error),
    /// The geography database cannot be used.
    #[error(transparent)]
    Geography(#[from] DatabaseError),
}

impl Error {
    /// The fix for it.
    #[must_use]
    pub fn advice(&self) -> Cow<'static, str> {
        match self {
            Self::Bind(_) => {
                "choose another address for it in the configuration file: in `listen.http`, `listen.https`, `admin.listen` or `cluster.peer_listen`".into()
            }
            Self::Tls(error) => error.advice().into(),
            Self::Collector(_) => "name a PEM file with CA certificates in `traces.ca_file`".into(),
            Self::Delivery(_) => "install the certificates of this machine (the package ca-certificates)".into(),
            Self::Trust { .. } => "name a PEM file with CA certificates in `ca_file`".into(),
            Self::AccessLog { path, .. } => format!(
                "create the directory of `{}` and make it writable by the user that runs Forebay, or change `access_log.path`",
                path.display()
            )
            .into(),
            Self::State { folder, .. } => format!(
                "create the directory `{}` and make it writable by the user that runs Forebay, or change `admin.state`",
                folder.display()
            )
            .into(),
            Self::Secret(_) => SecretError::ADVICE.into(),
            Self::Store(error) => error.advice().into(),
            Self::Keys(error) => error.advice().into(),
            Self::Geography(_) => {
                "name a database in MaxMind's format (.mmdb) in `geo.database` and `geo.asn_database`".into()
            }
            Self::Acme(error) => error.advice().into(),
            Self::File { key, .. } => {
                format!("correct `{key}`, or allow the user that runs Forebay to read the file").into()
            }
            Self::Predecessor(_) => {
                "restart Forebay instead: a process of another version may not be able to take over".into()
            }
            Self::System(_) => "check the limits on open files and threads (`ulimit -a`)".into(),
        }
    }
}
