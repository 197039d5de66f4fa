//! Certificates that Forebay obtains and renews by itself (ACME, RFC 8555).
//!
//! Each host has a separate certificate, so that one whose DNS record points elsewhere does not stop the others. A
//! certificate that was issued is served until a newer one takes its place, whatever happens to the authority.

mod account;
mod client;
mod error;
mod issued;
mod job;
mod options;
mod order;
mod schedule;
mod storage;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

pub use error::AcmeError;
use issued::Issued;
use job::{Authority, Job, Outcome};
pub use options::{AcmeOptions, LETS_ENCRYPT, LETS_ENCRYPT_STAGING};
use storage::Storage;
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
};

use crate::{
    base::{
        clock::{Clock, Timestamp},
        metrics::AcmeMetrics,
    },
    tls::{Challenges, IssuedCertificates, Lifetime},
};

/// Jobs at once. Each of them may wait minutes for the authority.
const AT_ONCE: usize = 4;

/// Longest time without a look at the clock, which may be corrected.
const LONGEST_SLEEP: Duration = Duration::from_mins(10);

/// Longest time that a job is planned ahead. A later one was planned while the clock was ahead.
const LATEST: Duration = Duration::from_hours(25);

/// Reads the files that the options name.
///
/// # Errors
/// If the key of the external account cannot be used.
pub(crate) fn check_external_key(options: &AcmeOptions) -> Result<(), AcmeError> {
    let file = options.external_account.as_ref().map(|(_, file)| file);
    file.map_or(Ok(()), |file| account::external_key(file).map(drop))
}

/// Obtains certificates and renews them.
pub(crate) struct Acme {
    authority: Authority,
    hosts: BTreeMap<String, HostState>,
    jobs: JoinSet<Result<Outcome, AcmeError>>,
    job_hosts: HashMap<Id, String>,
    issued: Arc<IssuedCertificates>,
    metrics: AcmeMetrics,
}

/// The certificate of one host.
#[derive(Default)]
struct HostState {
    issued: Option<Issued>,
    /// Failed attempts in a row.
    failures: u32,
    /// When to look at it again; `None` means at once.
    next: Option<Timestamp>,
    /// The job that runs for it.
    running: Option<Id>,
    /// Whether to try again as soon as the job has failed.
    is_impatient: bool,
}

/// The lifetime of a host's certificate, if one was issued.
///
/// # Errors
/// If it cannot be read or used.
pub(crate) fn stored_certificate(
    options: &AcmeOptions,
    host: &str,
) -> Result<Option<Lifetime>, AcmeError> {
    let Some(pem) = Storage::of(&options.folder).certificate(host)? else { return Ok(None) };
    Issued::parse(host, &pem).map(|issued| Some(issued.lifetime))
}

impl Acme {
    /// Prepares the folder for account and certificates.
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
        let (options, account) = (Arc::new(options), Arc::default());
        let authority = Authority { options, storage, account, challenges, clock };
        let (hosts, jobs, job_hosts) = (BTreeMap::new(), JoinSet::new(), HashMap::new());
        Ok(Self { authority, hosts, jobs, job_hosts, issued, metrics })
    }

    /// Serves and renews the certificates of these hosts, and of no others. Certificates that were issued earlier are
    /// served at once, and attempts that failed are repeated now: the operator may have corrected the cause.
    pub(crate) fn set_hosts(&mut self, hosts: &[String]) {
        self.hosts.retain(|host, _| hosts.contains(host));
        for state in self.hosts.values_mut() {
            if state.failures > 0 {
                state.next = None;
            }
            state.is_impatient = state.running.is_some();
        }
        for host in hosts {
            if !self.hosts.contains_key(host) {
                let issued = self.stored(host);
                self.hosts.insert(host.clone(), HostState { issued, ..HostState::default() });
            }
        }
        self.publish();
    }

    fn stored(&self, host: &str) -> Option<Issued> {
        let read = self.authority.storage.certificate(host);
        let issued = read.and_then(|pem| pem.map(|pem| Issued::parse(host, &pem)).transpose());
        issued.unwrap_or_else(|error| {
            tracing::warn!(host, %error, "the stored certificate cannot be used; another one is ordered");
            None
        })
    }

    /// Obtains and renews certificates, until the sender of the hosts is dropped.
    pub(crate) async fn run(mut self, mut hosts: watch::Receiver<Vec<String>>) {
        loop {
            while self.jobs.len() < AT_ONCE
                && let Some(host) = self.next_due()
            {
                self.start(host);
            }
            let until_next = self.until_next();
            tokio::select! {
                Some(ended) = self.jobs.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep(until_next) => {}
                changed = hosts.changed() => match changed {
                    Ok(()) => {
                        let hosts = hosts.borrow_and_update().clone();
                        self.set_hosts(&hosts);
                    }
                    Err(_) => return,
                },
            }
        }
    }

    /// The host that has been due for the longest time.
    fn next_due(&self) -> Option<String> {
        let now = self.authority.clock.now();
        let is_due = |next: Timestamp| next <= now || next > now + LATEST;
        // A job goes on when a reload removes its host.
        let is_running = |host: &String| self.job_hosts.values().any(|running| running == host);
        let due = self.hosts.iter().filter(|(host, _)| !is_running(host));
        let due = due.filter(|(_, state)| state.next.is_none_or(is_due));
        due.min_by_key(|(_, state)| state.next).map(|(host, _)| host.clone())
    }

    fn until_next(&self) -> Duration {
        let waiting = self.hosts.values().filter(|state| state.running.is_none());
        let next = waiting.filter_map(|state| state.next).min();
        let left = next.map_or(LONGEST_SLEEP, |next| next.since(self.authority.clock.now()));
        left.clamp(Duration::from_secs(1), LONGEST_SLEEP)
    }

    fn start(&mut self, host: String) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        let (authority, issued) = (self.authority.clone(), state.issued.clone());
        let job = Job { authority, host: host.clone(), issued, failures: state.failures };
        let id = self.jobs.spawn(job.run()).id();
        state.running = Some(id);
        self.job_hosts.insert(id, host);
    }

    fn ended(&mut self, ended: Result<(Id, Result<Outcome, AcmeError>), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(AcmeError::Panic)),
        };
        let Some(host) = self.job_hosts.remove(&id) else { return };
        // A reload may have removed the host in the meantime, and another may have added it again.
        let Some(state) = self.hosts.get_mut(&host) else { return };
        if state.running.take() != Some(id) {
            return;
        }
        match outcome {
            Ok(Outcome::NotYet(next)) => {
                state.next = Some(next);
                state.is_impatient = false;
            }
            Ok(Outcome::Renewed(issued, next)) => {
                let until = issued.lifetime.end.rfc3339();
                tracing::info!(host, until, "a certificate was issued");
                let next = Some(next);
                *state = HostState { issued: Some(issued), next, ..HostState::default() };
                self.metrics.ordered(true);
                self.publish();
            }
            Err(error) => self.failed(&host, &error),
        }
    }

    fn failed(&mut self, host: &str, error: &AcmeError) {
        self.metrics.ordered(false);
        let Some(state) = self.hosts.get_mut(host) else { return };
        state.failures += 1;
        let now = self.authority.clock.now();
        let end = state.issued.as_ref().map(|issued| issued.lifetime.end);
        let wait = schedule::retry(state.failures, end.map(|end| end.since(now)));
        let is_impatient = std::mem::take(&mut state.is_impatient);
        let next = if is_impatient { now } else { now + wait };
        state.next = Some(next);
        let (next, help) = (next.rfc3339(), error.advice());
        match end.filter(|end| now < *end).map(Timestamp::rfc3339) {
            Some(until) => tracing::error!(
                host,
                %error,
                next,
                until,
                help,
                "a certificate was not renewed; the old one stays in use"
            ),
            None => tracing::error!(
                host,
                %error,
                next,
                help,
                "no certificate was issued, so HTTPS does not work for this host"
            ),
        }
    }

    /// Uses the certificates for new connections, and shows when they expire.
    fn publish(&self) {
        let key = |(host, state): (&String, &HostState)| {
            Some((host.clone(), Arc::clone(&state.issued.as_ref()?.key)))
        };
        self.issued.set(self.hosts.iter().filter_map(key).collect());
        self.metrics.set_hosts(self.hosts.iter().map(|(host, state)| {
            let end = state.issued.as_ref().map(|issued| issued.lifetime.end);
            (host.as_str(), end)
        }));
    }
}
