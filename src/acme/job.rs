//! The work on one host: renew its certificate if it is time.

use std::{sync::Arc, time::Duration};

use instant_acme::{Account, ChallengeType};

use super::{
    AcmeError, AcmeOptions,
    account::{SharedAccount, is_unknown_account},
    issued::Issued,
    order::{OrderRequest, obtain},
    schedule,
    storage::Storage,
};
use crate::{
    base::{
        clock::{Clock, Timestamp},
        instance, sha256,
    },
    tls::Challenges,
};

/// Longest time for one order.
const PATIENCE: Duration = Duration::from_mins(5);

/// What all jobs share.
#[derive(Clone)]
pub(super) struct Authority {
    pub(super) options: Arc<AcmeOptions>,
    pub(super) storage: Storage,
    pub(super) account: Arc<SharedAccount>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) clock: Clock,
}

/// The work on one host.
pub(super) struct Job {
    pub(super) authority: Authority,
    pub(super) host: String,
    pub(super) issued: Option<Issued>,
    /// Failed attempts in a row.
    pub(super) failures: u32,
}

/// The result of a job.
pub(super) enum Outcome {
    /// The certificate need not be renewed before this time.
    NotYet(Timestamp),
    /// A new certificate, and when to look at it again.
    Renewed(Issued, Timestamp),
}

impl Job {
    pub(super) async fn run(self) -> Result<Outcome, AcmeError> {
        if self.failures == 0
            && let Some(issued) = &self.issued
            && let Some(next) = self.next_look(issued).await
        {
            return Ok(Outcome::NotYet(next));
        }
        let renewed = tokio::time::timeout(PATIENCE, self.renew()).await;
        let issued = renewed.unwrap_or(Err(AcmeError::Timeout))?;
        let next = self.next_look(&issued).await;
        let now = self.authority.clock.now();
        let soonest = now + schedule::shortest_use(issued.lifetime.end.since(now));
        Ok(Outcome::Renewed(issued, next.unwrap_or(soonest).max(soonest)))
    }

    /// When to look at a certificate again, unless it should be renewed now.
    async fn next_look(&self, issued: &Issued) -> Option<Timestamp> {
        let (mut window, mut check_again) = (None, schedule::CHECK_INTERVAL);
        if let (Some(id), Ok(account)) = (&issued.id, self.account().await)
            && let Ok((info, after)) = account.renewal_info(id).await
        {
            let at = |time: time::OffsetDateTime| {
                Timestamp::from_secs(u64::try_from(time.unix_timestamp()).unwrap_or(0))
            };
            window = Some((at(info.suggested_window.start), at(info.suggested_window.end)));
            check_again = schedule::check_again(after);
        }
        let now = self.authority.clock.now();
        let renewal = schedule::renewal(issued.lifetime, window, self.spread());
        (renewal > now).then(|| renewal.min(now + check_again))
    }

    /// The part of a window in which this process renews the certificate, from 0 to 999: others choose other parts.
    fn spread(&self) -> u32 {
        let digest = sha256::first_64(format!("{}{}", instance::id(), self.host));
        u32::try_from(digest % 1000).unwrap_or(0)
    }

    async fn account(&self) -> Result<Account, AcmeError> {
        let Authority { options, storage, account, .. } = &self.authority;
        account.get(options, storage).await
    }

    async fn renew(&self) -> Result<Issued, AcmeError> {
        let Authority { options, storage, account, challenges, clock } = &self.authority;
        // After a failure, another kind of proof may work: port 80 or port 443 may be closed.
        let mut proofs = vec![ChallengeType::TlsAlpn01];
        if options.has_http {
            proofs.insert(usize::from(self.failures % 2 == 1), ChallengeType::Http01);
        }
        // An authority that refuses to replace the old certificate must not be able to stop renewals.
        let replaced = self.issued.as_ref().filter(|_| self.failures == 0);
        let mut request = OrderRequest {
            host: &self.host,
            profile: options.profile.as_deref(),
            replaces: replaced.and_then(|issued| issued.id.clone()),
            proofs: &proofs,
        };
        let used = self.account().await?;
        let pem = match obtain(&used, &request, challenges).await {
            Err(AcmeError::Library(error)) if is_unknown_account(&error) => {
                account.forget(&used, storage).await;
                request.replaces = None;
                obtain(&self.account().await?, &request, challenges).await?
            }
            obtained => obtained?,
        };
        let issued = Issued::parse(&self.host, pem.as_bytes())?;
        if !issued.is_valid(clock.now()) {
            return Err(AcmeError::Unusable("it has expired".into()));
        }
        if let Err(error) = storage.save_certificate(&self.host, &pem) {
            tracing::error!(
                host = self.host,
                %error,
                help = error.advice(),
                "a certificate was issued but cannot be stored; it is used until Forebay stops"
            );
        }
        Ok(issued)
    }
}
