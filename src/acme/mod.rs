//! Certificates that Forebay obtains and renews by itself (ACME, RFC 8555).
//!
//! Each host has a certificate of its own, so that one whose DNS record points elsewhere does not stop the others. A
//! certificate that was issued is served until a newer one takes its place, whatever happens to the authority.

mod client;
mod error;
mod issued;
mod options;
mod order;
mod schedule;
mod storage;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use client::Client;
pub use error::AcmeError;
use instant_acme::{Account, ChallengeType, ExternalAccountKey, NewAccount};
use issued::Issued;
pub use options::{AcmeOptions, LETS_ENCRYPT, LETS_ENCRYPT_STAGING};
use order::{Wish, obtain};
use storage::Storage;
use tokio::sync::watch;

use crate::{
    base::{
        clock::{Clock, Timestamp},
        instance,
        metrics::AcmeMetrics,
    },
    tls::{Challenges, IssuedCertificates, Lifetime},
};

/// Longest time for one order.
const PATIENCE: Duration = Duration::from_mins(5);

/// Longest time without a look at the clock, which may jump.
const LONGEST_SLEEP: Duration = Duration::from_mins(10);

/// Obtains certificates and renews them.
pub(crate) struct Acme {
    options: AcmeOptions,
    storage: Storage,
    account: Option<Account>,
    hosts: BTreeMap<String, HostState>,
    issued: Arc<IssuedCertificates>,
    challenges: Arc<Challenges>,
    clock: Clock,
    metrics: AcmeMetrics,
}

/// The certificate of one host.
#[derive(Default)]
struct HostState {
    issued: Option<Issued>,
    /// Failed attempts in a row.
    failures: u32,
    /// When to attend to it again; `None` means at once.
    next: Option<Timestamp>,
}

/// The lifetime of a host's certificate, if one was issued.
pub(crate) fn stored_certificate(options: &AcmeOptions, host: &str) -> Option<Lifetime> {
    Storage::of(&options.folder).certificate(host)?.ok().map(|issued| issued.lifetime)
}

impl Acme {
    /// Reads the certificates that were issued earlier, so that they are served from the start.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub(crate) fn open(
        options: AcmeOptions,
        issued: Arc<IssuedCertificates>,
        challenges: Arc<Challenges>,
        clock: Clock,
        metrics: AcmeMetrics,
    ) -> Result<Self, AcmeError> {
        let storage = Storage::open(&options.folder)?;
        let (account, hosts) = (None, BTreeMap::new());
        Ok(Self { options, storage, account, hosts, issued, challenges, clock, metrics })
    }

    /// Serves and renews the certificates of these hosts, and of no others.
    pub(crate) fn set_hosts(&mut self, hosts: &[String]) {
        self.hosts.retain(|host, _| hosts.contains(host));
        for host in hosts {
            if self.hosts.contains_key(host) {
                continue;
            }
            let stored = self.storage.certificate(host).and_then(|read| {
                read.inspect_err(|error| {
                    tracing::warn!(host, %error, "the stored certificate cannot be used; another one is ordered");
                })
                .ok()
            });
            self.hosts.insert(host.clone(), HostState { issued: stored, ..HostState::default() });
        }
        self.publish();
    }

    /// Attends to the hosts when they are due, until the sender of their names is dropped.
    pub(crate) async fn run(mut self, mut names: watch::Receiver<Vec<String>>) {
        loop {
            let due = self.hosts.iter().find(|(_, state)| self.is_due(state));
            if let Some(host) = due.map(|(host, _)| host.clone()) {
                self.attend(&host).await;
                continue;
            }
            let now = self.clock.now();
            let next = self.hosts.values().filter_map(|state| state.next).min();
            let sleep = next.map_or(LONGEST_SLEEP, |next| next.since(now).min(LONGEST_SLEEP));
            tokio::select! {
                () = tokio::time::sleep(sleep.max(Duration::from_secs(1))) => {}
                changed = names.changed() => match changed {
                    Ok(()) => {
                        let hosts = names.borrow_and_update().clone();
                        self.set_hosts(&hosts);
                    }
                    Err(_) => return,
                },
            }
        }
    }

    fn is_due(&self, state: &HostState) -> bool {
        state.next.is_none_or(|next| next <= self.clock.now())
    }

    /// Renews the certificate of a host if it is time, and plans what comes next.
    async fn attend(&mut self, host: &str) {
        let outcome = match self.not_yet(host).await {
            Some(next) => return self.plan(host, next),
            None => tokio::time::timeout(PATIENCE, self.renew(host)).await,
        };
        match outcome.unwrap_or(Err(AcmeError::Timeout)) {
            Ok(issued) => {
                self.metrics.ordered(true);
                let until = issued.lifetime.end.rfc3339();
                tracing::info!(host, until, "a certificate was issued");
                let state = self.hosts.entry(host.to_owned()).or_default();
                *state = HostState { issued: Some(issued), ..HostState::default() };
                self.publish();
                // An authority that wants a new certificate to be renewed at once must wait: each costs it an order.
                let next = self.not_yet(host).await;
                self.plan(host, next.unwrap_or(self.clock.now() + schedule::ASK_AGAIN));
            }
            Err(error) => self.failed(host, &error),
        }
    }

    /// When to look at a certificate again, if it need not be renewed now.
    async fn not_yet(&mut self, host: &str) -> Option<Timestamp> {
        let state = self.hosts.get(host)?;
        let Issued { lifetime, id, .. } = state.issued.clone()?;
        if state.failures > 0 {
            return None;
        }
        let now = self.clock.now();
        let (mut window, mut ask_again) = (None, schedule::ASK_AGAIN);
        if let (Some(id), Ok(account)) = (id, self.account().await)
            && let Ok((info, after)) = account.renewal_info(&id).await
        {
            let at = |time: time::OffsetDateTime| {
                Timestamp::from_secs(u64::try_from(time.unix_timestamp()).unwrap_or(0))
            };
            window = Some((at(info.suggested_window.start), at(info.suggested_window.end)));
            ask_again = schedule::ask_again(after);
        }
        let renewal = schedule::renewal(lifetime, window, spread(host));
        (renewal > now).then(|| renewal.min(now + ask_again))
    }

    fn plan(&mut self, host: &str, next: Timestamp) {
        if let Some(state) = self.hosts.get_mut(host) {
            state.next = Some(next);
        }
    }

    fn failed(&mut self, host: &str, error: &AcmeError) {
        self.metrics.ordered(false);
        let now = self.clock.now();
        let Some(state) = self.hosts.get_mut(host) else { return };
        state.failures += 1;
        let next = now + schedule::retry(state.failures);
        state.next = Some(next);
        let next = next.rfc3339();
        match &state.issued {
            Some(issued) => {
                let until = issued.lifetime.end.rfc3339();
                tracing::error!(host, %error, next, until, help = error.advice(), "a certificate was not renewed; the old one stays in use");
            }
            None => {
                tracing::error!(host, %error, next, help = error.advice(), "no certificate was issued, so HTTPS does not work for this host");
            }
        }
    }

    async fn renew(&mut self, host: &str) -> Result<Issued, AcmeError> {
        let account = self.account().await?;
        let state = self.hosts.get(host);
        let replaces = state.and_then(|state| state.issued.as_ref()?.id.clone());
        // After a failure, another kind of proof may work: port 80 or port 443 may be closed.
        let mut proofs = vec![ChallengeType::TlsAlpn01];
        if self.options.has_http {
            let is_odd = state.is_some_and(|state| state.failures % 2 == 1);
            proofs.insert(usize::from(is_odd), ChallengeType::Http01);
        }
        let profile = self.options.profile.as_deref();
        let wish = Wish { host, profile, replaces, proofs: &proofs };
        let pem = obtain(&account, wish, &self.challenges).await?;
        self.storage.save_certificate(host, &pem)
    }

    /// The account at the authority. The first call creates one.
    async fn account(&mut self) -> Result<Account, AcmeError> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        let client = Client { ca_file: self.options.ca_file.clone() };
        let builder = Account::builder_with_http(Box::new(client));
        let account = match self.storage.account()? {
            Some(credentials) => builder.from_credentials(credentials).await?,
            None => {
                let external = self.external_account()?;
                let contact = self.options.email.iter().map(|email| format!("mailto:{email}"));
                let contact: Vec<String> = contact.collect();
                let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
                let new = NewAccount {
                    contact: &contact,
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let directory = self.options.directory.clone();
                let (account, credentials) =
                    builder.create(&new, directory, external.as_ref()).await?;
                self.storage.save_account(&credentials)?;
                account
            }
        };
        Ok(self.account.insert(account).clone())
    }

    fn external_account(&self) -> Result<Option<ExternalAccountKey>, AcmeError> {
        let Some((id, path)) = &self.options.external_account else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| AcmeError::Storage { path: path.clone(), source })?;
        let key = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
        let key = key.map_err(|_| AcmeError::ExternalKey(path.clone()))?;
        Ok(Some(ExternalAccountKey::new(id.clone(), &key)))
    }

    /// Uses the certificates for new connections, and shows when they expire.
    fn publish(&self) {
        let issued = self.hosts.iter().filter_map(|(host, state)| {
            let issued = state.issued.as_ref()?;
            Some((host.clone(), issued))
        });
        let issued: Vec<(String, &Issued)> = issued.collect();
        let key = |(host, issued): &(String, &Issued)| (host.clone(), Arc::clone(&issued.key));
        self.issued.set(issued.iter().map(key).collect::<HashMap<_, _>>());
        self.metrics.set_hosts(self.hosts.iter().map(|(host, state)| {
            let end = state.issued.as_ref().map(|issued| issued.lifetime.end);
            (host.as_str(), end)
        }));
    }
}

/// The part of a window in which this process renews a host's certificate, from 0 to 999: others choose other parts.
fn spread(host: &str) -> u32 {
    let digest = crate::base::sha256::first_64(format!("{}{host}", instance::id()));
    u32::try_from(digest % 1000).unwrap_or(0)
}
