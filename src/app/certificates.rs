//! The certificates in effect, and the watch over their files.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use rustls::sign::CertifiedKey;
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    automatic_https::AutomaticHttps,
    peers::PeerSide,
    tls_options::{profiles, read_keys, show},
};
use crate::{
    base::metrics::Metrics,
    config::Config,
    server::TlsSettings,
    tls::{MutualTls, TlsError},
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
            show(&self.metrics, &config.listen.certificates, &keys);
            self.automatic.set_hosts(config, &keys);
            tls.set(keys, &profiles(config))?;
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

    fn load_again(&self, config: &Config) {
        match self.read(config).and_then(|read| self.set(read, config)) {
            Ok(()) => {
                tracing::info!("the files of certificates changed, and the new ones are in use");
            }
            Err(error) => tracing::error!(
                %error,
                "the files of certificates changed, but the new ones cannot be used; the old ones stay in use"
            ),
        }
    }
}

/// What distinguishes two versions of a file; `None` if it is missing.
type FileVersion = Option<(u64, SystemTime, u64)>;

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
        Some((found.ino(), found.modified().ok()?, found.len()))
    };
    paths
        .chain(peers.map(|peers| &peers.files.ca))
        .map(|path| (path.clone(), version(path)))
        .collect()
}
