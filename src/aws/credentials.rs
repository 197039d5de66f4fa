//! AWS credentials: found by the standard chain, renewed in the background.
//!
//! A request reads what is installed. Only while the first credentials are still being loaded does it wait
//! for them, within a bound.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::{
    credential_feature::AwsCredentialFeature,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_smithy_runtime_api::client::identity::Identity;
use tokio::sync::Notify;

use crate::base::clock::{Clock, Stopwatch, Timestamp};

/// Credentials are renewed this long before they expire.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Credentials that never expire are read again this often, in case a file has changed.
const REREAD: Duration = Duration::from_secs(3600);

/// Shortest and longest wait after a failure, and between two renewals that requests asked for.
const RETRY: std::ops::Range<Duration> = Duration::from_secs(2)..Duration::from_secs(60);

/// How long one attempt of the chain may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a request waits for the first credentials, and how long after the start any request does.
const FIRST: Duration = Duration::from_secs(10);
const LOADING: Duration = Duration::from_secs(60);

/// Why credentials are refused. Nothing could be signed with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// A part that must be there is empty.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A part holds a character that a header field cannot hold.
    #[error("{0} contains a space, a line break or another character that no AWS key has")]
    Character(&'static str),
}

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
    /// The first credentials are being loaded: there may be some in a moment.
    is_loading: AtomicBool,
    /// Running since the start, if they are loaded here.
    started: Option<Stopwatch>,
    loaded: Notify,
}

impl Credentials {
    /// None, until some are installed.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// No credentials yet; [`Credentials::keep_fresh`] loads them.
    #[must_use]
    pub fn loading() -> Arc<Self> {
        let (is_loading, started) = (AtomicBool::new(true), Some(Stopwatch::start()));
        Arc::new(Self { is_loading, started, ..Self::default() })
    }

    /// Whether the first credentials are still being loaded.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.is_loading.load(Ordering::Acquire)
            && self.started.is_some_and(|started| started.elapsed() < LOADING)
    }

    /// What to sign with. While the first credentials are being loaded, waits for them, ten seconds at
    /// most. Cancel-safe.
    pub async fn first(&self) -> Option<Arc<Installed>> {
        if let Some(installed) = self.current() {
            return Some(installed);
        }
        let loaded = async {
            loop {
                let loaded = self.loaded.notified();
                if !self.is_loading() {
                    return;
                }
                loaded.await;
            }
        };
        let _ = tokio::time::timeout(FIRST, loaded).await;
        self.current()
    }

    fn end_loading(&self) {
        self.is_loading.store(false, Ordering::Release);
        self.loaded.notify_waiters();
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

    /// Installs keys; `false` if they are installed already. White space around them is removed: it comes
    /// from files and variables, and AWS never issues any.
    ///
    /// # Errors
    /// When no request could be signed with them. What was installed stays.
    pub fn install(&self, keys: &aws_credential_types::Credentials) -> Result<bool, KeysError> {
        let keys = &validated(keys)?;
        let is_new = self.replace(keys);
        self.end_loading();
        Ok(is_new)
    }

    fn replace(&self, keys: &aws_credential_types::Credentials) -> bool {
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
                Err(failure) => {
                    failure.log(self.current().is_some());
                    if failure.is_final {
                        self.end_loading();
                    }
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
    ) -> Result<Option<SystemTime>, NotLoaded> {
        let keys = provide(provider).await?;
        if self.install(&keys)? {
            // The key's id identifies; its secret is never written anywhere.
            tracing::info!(
                access_key_id = keys.access_key_id().trim(),
                temporary = keys.session_token().is_some(),
                "AWS credentials installed"
            );
        }
        Ok(keys.expiry())
    }
}

/// Credentials that were found, and where.
#[derive(Debug)]
pub(crate) struct FoundCredentials {
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
pub(crate) async fn find(region: &str) -> Result<FoundCredentials, String> {
    let keys = provide(standard_chain(region.to_owned()).await.as_ref()).await;
    let keys = keys.map_err(|failure| failure.reason)?;
    let keys = validated(&keys).map_err(|error| error.to_string())?;
    let features = keys.get_property::<Vec<AwsCredentialFeature>>();
    let source =
        features.and_then(|features| features.first().map(source)).unwrap_or("the standard chain");
    Ok(FoundCredentials {
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

/// Why no credentials were loaded.
struct NotLoaded {
    reason: String,
    /// The source has none, or they are invalid. Otherwise it did not answer, and may do so later.
    is_final: bool,
}

impl NotLoaded {
    fn log(&self, have_old_ones: bool) {
        let Self { reason, is_final } = self;
        if *is_final {
            tracing::error!(
                reason,
                have_old_ones,
                "no AWS credentials could be loaded; set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, a profile in ~/.aws, or give this machine a role"
            );
        } else {
            tracing::error!(
                reason,
                have_old_ones,
                "the source of AWS credentials does not answer yet; trying again"
            );
        }
    }
}

impl From<KeysError> for NotLoaded {
    fn from(error: KeysError) -> Self {
        Self { reason: error.to_string(), is_final: true }
    }
}

async fn provide(
    provider: Option<&SharedCredentialsProvider>,
) -> Result<aws_credential_types::Credentials, NotLoaded> {
    let failed = |reason: String, is_final| NotLoaded { reason, is_final };
    let none = || failed("the standard chain holds no provider".into(), true);
    let provider = provider.ok_or_else(none)?;
    let answer = tokio::time::timeout(PATIENCE, provider.provide_credentials()).await;
    let silent = |_| failed("the credential provider does not answer".into(), false);
    answer.map_err(silent)?.map_err(|error| {
        let is_final = matches!(
            error,
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
        );
        failed(describe(&error), is_final)
    })
}

/// The keys without white space around them.
fn validated(
    keys: &aws_credential_types::Credentials,
) -> Result<aws_credential_types::Credentials, KeysError> {
    let id = checked("the access key id", keys.access_key_id())?;
    // A secret is only hashed: some stores have spaces in theirs.
    let secret = present("the secret access key", keys.secret_access_key())?;
    let token =
        keys.session_token().map(|token| checked("the session token", token)).transpose()?;
    let mut valid = aws_credential_types::Credentials::builder()
        .access_key_id(id)
        .secret_access_key(secret)
        .provider_name("forebay");
    valid.set_session_token(token);
    valid.set_expiry(keys.expiry());
    let mut valid = valid.build();
    if let Some(features) = keys.get_property::<Vec<AwsCredentialFeature>>() {
        valid.set_property(features.clone());
    }
    Ok(valid)
}

/// A part that a header field carries.
fn checked(what: &'static str, part: &str) -> Result<String, KeysError> {
    let part = present(what, part)?;
    if !part.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(KeysError::Character(what));
    }
    Ok(part)
}

fn present(what: &'static str, part: &str) -> Result<String, KeysError> {
    let part = part.trim();
    if part.is_empty() {
        return Err(KeysError::Empty(what));
    }
    if part.contains(char::is_control) {
        return Err(KeysError::Character(what));
    }
    Ok(part.to_owned())
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
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
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
    use futures_util::FutureExt;

    use super::*;

    fn keys(secret: &str) -> aws_credential_types::Credentials {
        aws_credential_types::Credentials::new("id", secret, None, None, "test")
    }

    #[test]
    fn the_generation_counts_changes_only() {
        let credentials = Credentials::new();
        assert!(credentials.current().is_none());
        assert_eq!(credentials.install(&keys("a")), Ok(true));
        assert_eq!(credentials.install(&keys("a")), Ok(false));
        assert_eq!(credentials.install(&keys(" a\n")), Ok(false));
        assert_eq!(credentials.install(&keys("b")), Ok(true));
        assert_eq!(credentials.current().expect("installed").generation, 2);
    }

    #[test]
    fn keys_that_cannot_sign_are_refused_and_the_old_ones_stay() {
        let credentials = Credentials::loading();
        let install = |id: &str, secret: &str, token: Option<&str>| {
            let token = token.map(str::to_owned);
            let keys = aws_credential_types::Credentials::new(id, secret, token, None, "test");
            credentials.install(&keys)
        };
        assert_eq!(install("id\r\n", "secret\n", Some(" token\n")), Ok(true));
        let installed = credentials.current().expect("installed");
        let keys = installed.identity.data::<aws_credential_types::Credentials>().expect("keys");
        let parts = (keys.access_key_id(), keys.secret_access_key(), keys.session_token());
        assert_eq!(parts, ("id", "secret", Some("token")));
        assert_eq!(install("i d", "s", None), Err(KeysError::Character("the access key id")));
        assert_eq!(install("id", " \n", None), Err(KeysError::Empty("the secret access key")));
        let broken = Err(KeysError::Character("the session token"));
        assert_eq!(install("id", "s", Some("to\nken")), broken);
        assert_eq!(credentials.current().expect("installed").generation, 1);
    }

    #[tokio::test]
    async fn requests_wait_for_the_first_credentials_only() {
        assert!(Credentials::new().first().await.is_none(), "none is not `not yet`");
        let credentials = Credentials::loading();
        let mut waiting = Box::pin(credentials.first());
        assert!((&mut waiting).now_or_never().is_none());
        credentials.install(&keys("a")).expect("good keys");
        assert!(waiting.await.is_some());
        let credentials = Credentials::loading();
        let mut waiting = Box::pin(credentials.first());
        assert!((&mut waiting).now_or_never().is_none());
        credentials.end_loading();
        assert!(waiting.await.is_none());
    }
}
