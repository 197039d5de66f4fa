//! AWS credentials: found by the standard chain, renewed in the background.
//!
//! A request only ever reads what is installed; it never waits for the chain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::{
    credential_feature::AwsCredentialFeature,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_smithy_runtime_api::client::identity::Identity;
use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};

/// Credentials are renewed this long before they expire.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Credentials that never expire are read again this often, in case a file has changed.
const REREAD: Duration = Duration::from_secs(3600);

/// Shortest and longest wait after a failure, and between two renewals that requests asked for.
const RETRY: std::ops::Range<Duration> = Duration::from_secs(2)..Duration::from_secs(60);

/// How long one attempt of the chain may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a request is signed with.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The keys, in the form the signer takes them. Their secret is never printed.
    pub identity: Identity,
    /// Counts up with every change of the keys.
    pub generation: u64,
}

/// The credentials of this process.
#[derive(Debug, Default)]
pub struct Credentials {
    installed: ArcSwapOption<Installed>,
    generation: AtomicU64,
    wake: Notify,
}

impl Credentials {
    /// None yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What to sign with, if anything is installed.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Installed>> {
        self.installed.load_full()
    }

    /// Asks for a renewal soon, because S3 refused the ones installed.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Installs keys, unless they are the ones already installed.
    pub fn install(&self, keys: &aws_credential_types::Credentials) -> bool {
        let current = self.current();
        let same = |installed: &Arc<Installed>| {
            let data = installed.identity.data::<aws_credential_types::Credentials>();
            data.is_some_and(|data| {
                data.access_key_id() == keys.access_key_id()
                    && data.secret_access_key() == keys.secret_access_key()
                    && data.session_token() == keys.session_token()
                    && data.expiry() == keys.expiry()
            })
        };
        if current.as_ref().is_some_and(same) {
            return false;
        }
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let identity = Identity::from(keys.clone());
        self.installed.store(Some(Arc::new(Installed { identity, generation })));
        true
    }

    /// Finds and renews credentials for as long as the process runs. Never returns.
    pub async fn keep_fresh(self: Arc<Self>, region: String) {
        let provider = standard_chain(region).await;
        let mut pause = RETRY.start;
        loop {
            let wait = match self.renew(provider.as_ref()).await {
                Ok(expiry) => {
                    pause = RETRY.start;
                    expiry.map_or(REREAD, |at| until_renewal(at).max(RETRY.start))
                }
                Err(reason) => {
                    tracing::error!(
                        reason,
                        have_old_ones = self.current().is_some(),
                        "no AWS credentials could be loaded; set AWS_ACCESS_KEY_ID and \
                         AWS_SECRET_ACCESS_KEY, a profile in ~/.aws, or give this machine a role"
                    );
                    pause = (pause * 2).min(RETRY.end);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // However many requests ask: not more often than the shortest pause.
                () = self.wake.notified() => tokio::time::sleep(RETRY.start).await,
            }
        }
    }

    async fn renew(
        &self,
        provider: Option<&SharedCredentialsProvider>,
    ) -> Result<Option<SystemTime>, String> {
        let keys = provide(provider).await?;
        if self.install(&keys) {
            // The key's id identifies; its secret is never written anywhere.
            tracing::info!(
                access_key_id = keys.access_key_id(),
                temporary = keys.session_token().is_some(),
                "AWS credentials installed"
            );
        }
        Ok(keys.expiry())
    }
}

/// Credentials that were found, and where.
#[derive(Debug)]
pub struct Found {
    /// What to sign with.
    pub installed: Installed,
    /// The key's id; its secret is never shown.
    pub access_key_id: String,
    /// Where the chain found them, as in `environment`.
    pub source: &'static str,
    /// When they end, if they do.
    pub expiry: Option<Timestamp>,
}

/// Looks for credentials once, where the standard chain looks.
///
/// # Errors
/// When there are none; the text tells why.
pub async fn find(region: &str) -> Result<Found, String> {
    let keys = provide(standard_chain(region.to_owned()).await.as_ref()).await?;
    let features = keys.get_property::<Vec<AwsCredentialFeature>>();
    let source =
        features.and_then(|features| features.first().map(source)).unwrap_or("the standard chain");
    Ok(Found {
        access_key_id: keys.access_key_id().to_owned(),
        source,
        expiry: keys.expiry().map(Timestamp::from),
        installed: Installed { identity: Identity::from(keys), generation: 1 },
    })
}

/// Where credentials come from, in words (AWS SDKs and Tools Reference Guide, "Standardized credential
/// providers").
const fn source(feature: &AwsCredentialFeature) -> &'static str {
    match feature {
        AwsCredentialFeature::CredentialsEnvVars => "environment",
        AwsCredentialFeature::CredentialsEnvVarsStsWebIdToken
        | AwsCredentialFeature::CredentialsProfileStsWebIdToken
        | AwsCredentialFeature::CredentialsStsAssumeRoleWebId => "web identity",
        AwsCredentialFeature::CredentialsSso
        | AwsCredentialFeature::CredentialsProfileSso
        | AwsCredentialFeature::CredentialsLogin
        | AwsCredentialFeature::CredentialsProfileLogin => "single sign-on",
        AwsCredentialFeature::CredentialsStsAssumeRole => "assumed role",
        AwsCredentialFeature::CredentialsImds => "the instance's role",
        AwsCredentialFeature::CredentialsHttp => "the container's role",
        AwsCredentialFeature::CredentialsProcess
        | AwsCredentialFeature::CredentialsProfileProcess => "a credential process",
        _ => "a profile in ~/.aws",
    }
}

async fn provide(
    provider: Option<&SharedCredentialsProvider>,
) -> Result<aws_credential_types::Credentials, String> {
    let provider = provider.ok_or("the standard chain holds no provider")?;
    let answer = tokio::time::timeout(PATIENCE, provider.provide_credentials()).await;
    answer
        .map_err(|_| "the credential provider does not answer".to_owned())?
        .map_err(|error| describe(&error))
}

async fn standard_chain(region: String) -> Option<SharedCredentialsProvider> {
    let loader = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region));
    loader.load().await.credentials_provider()
}

fn until_renewal(expiry: SystemTime) -> Duration {
    Timestamp::from(expiry).since(Clock::system().now()).saturating_sub(RENEW_BEFORE)
}

/// An error with its causes in one line.
#[must_use]
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &str) -> aws_credential_types::Credentials {
        aws_credential_types::Credentials::new("id", secret, None, None, "test")
    }

    #[test]
    fn the_generation_counts_changes_only() {
        let credentials = Credentials::new();
        assert!(credentials.current().is_none());
        assert!(credentials.install(&keys("a")));
        assert!(!credentials.install(&keys("a")));
        assert!(credentials.install(&keys("b")));
        assert_eq!(credentials.current().expect("installed").generation, 2);
    }
}
