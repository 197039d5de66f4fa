//! The certificates in effect, and the watch over their files.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    automatic_https::AutomaticHttps,
    peers::PeerSide,
    tls_options::{profiles, read_keys, show},
};
use crate::{
    base::{clock::Clock, metrics::Metrics},
    config::Config,
    server::TlsSettings,
    tls::{CertificateFiles, Lifetime, MutualTls, TlsError},
};

/// How often the files are looked at. A change counts once it was seen twice, because certificate and key are written
/// one after the other.
const INTERVAL: Duration = Duration::from_secs(5);

/// The certificates for viewers and for other nodes.
#[derive(Clone)]
pub(super) struct Certificates {
    pub(super) tls: Option<Arc<TlsSettings>>,
    pub(super) peers: Option<PeerSide>,
    pub(super) automatic: AutomaticHttps,
    pub(super) metrics: Arc<Metrics>,
}

/// Certificates that were read from their files.
pub(super) struct ReadCertificates {
    keys: Vec<Arc<CertifiedKey>>,
    peers: Option<MutualTls>,
}

impl Certificates {
    /// Reads the certificates that a configuration names.
    pub(super) fn read(&self, config: &Config) -> Result<ReadCertificates, TlsError> {
        let peers = self.peers.as_ref().map(|peers| peers.read(config)).transpose()?;
        Ok(ReadCertificates { keys: read_keys(config)?, peers: peers.flatten() })
    }

    /// Uses these certificates for new connections. On an error, the old ones stay in effect.
    pub(super) fn set(&self, read: ReadCertificates, config: &Config) -> Result<(), TlsError> {
        let ReadCertificates { keys, peers } = read;
        if let Some(tls) = &self.tls {
            tls.set(keys.clone(), &profiles(config))?;
            show(&self.metrics, &config.listen.certificates, &keys);
            self.automatic.set_hosts(config, &keys);
        }
        if let Some((side, tls)) = self.peers.as_ref().zip(peers) {
            side.set_tls(tls);
        }
        Ok(())
    }

    /// Uses certificates whose files have changed, until `stopped`.
    pub(super) async fn watch(
        self,
        config: Arc<Mutex<Config>>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut watch = FileWatch::new(&config.lock());
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let (certificates, config) = (self.clone(), Arc::clone(&config));
            let looked = spawn_blocking(move || {
                // A reload waits, so that it has the last word.
                let config = config.lock();
                if watch.has_changed(&config) {
                    certificates.load_again(&config);
                }
                watch
            });
            let Ok(looked) = looked.await else { return };
            watch = looked;
        }
    }

    /// Uses the certificates of a configuration that is in effect, except those that cannot be used.
    fn load_again(&self, config: &Config) {
        let provider = aws_lc_rs::default_provider();
        let old = self.tls.as_ref().map(|tls| tls.keys()).unwrap_or_default();
        let newest = |(files, old): (&CertificateFiles, Arc<CertifiedKey>)| match files
            .read(&provider)
        {
            Ok(new) if is_expired(&new) && !is_expired(&old) => {
                let certificate = files.certificate.display();
                tracing::error!(%certificate, "the new certificate has expired; the old one stays in use");
                old
            }
            Ok(new) => new,
            Err(error) => {
                report(&error);
                old
            }
        };
        let keys = config.listen.certificates.iter().zip(old).map(newest).collect();
        let peers = self.peers.as_ref().map(|peers| peers.read(config)).transpose();
        let peers = peers.unwrap_or_else(|error| {
            report(&error);
            None
        });
        match self.set(ReadCertificates { keys, peers: peers.flatten() }, config) {
            Ok(()) => tracing::info!("the files of certificates changed and were read again"),
            Err(error) => report(&error),
        }
    }
}

fn is_expired(key: &CertifiedKey) -> bool {
    let lifetime = key.cert.first().and_then(Lifetime::of);
    lifetime.is_some_and(|lifetime| lifetime.end <= Clock::system().now())
}

fn report(error: &TlsError) {
    tracing::error!(
        %error,
        help = error.advice(),
        "the files of a certificate changed, but the new ones cannot be used; the old ones stay in use"
    );
}

/// The version of a file: its inode, its length, and when its content and its permissions changed. `None` if it is
/// missing.
type FileVersion = Option<(u64, u64, SystemTime, (i64, i64))>;

/// The versions of the files of all certificates.
struct FileWatch {
    in_use: Vec<(PathBuf, FileVersion)>,
    last_seen: Vec<(PathBuf, FileVersion)>,
}

impl FileWatch {
    fn new(config: &Config) -> Self {
        let seen = versions(config);
        Self { in_use: seen.clone(), last_seen: seen }
    }

    /// Whether files have changed, but not since the last call. Returns `true` once for each change.
    fn has_changed(&mut self, config: &Config) -> bool {
        let seen = versions(config);
        let has_changed = seen != self.in_use && seen == self.last_seen;
        if has_changed {
            self.in_use.clone_from(&seen);
        }
        self.last_seen = seen;
        has_changed
    }
}

fn versions(config: &Config) -> Vec<(PathBuf, FileVersion)> {
    let peers = config.cluster.as_ref().and_then(|cluster| cluster.peers.as_ref());
    let own = config.listen.certificates.iter().chain(peers.map(|peers| &peers.files.own));
    let paths = own.flat_map(|files| [&files.certificate, &files.key]);
    let version = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        let changed = (found.ctime(), found.ctime_nsec());
        Some((found.ino(), found.len(), found.modified().ok()?, changed))
    };
    paths
        .chain(peers.map(|peers| &peers.files.ca))
        .map(|path| (path.clone(), version(path)))
        .collect()
}
