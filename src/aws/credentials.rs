//! AWS credentials: loaded from the standard chain, renewed in the background.
//!
//! A request reads the installed credentials. It waits only while the first ones are still loading, for a limited
//! time.

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
    Credentials as Keys,
    credential_feature::AwsCredentialFeature,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_smithy_runtime_api::client::identity::Identity;
use tokio::sync::Notify;

use super::credential_source::source_of;
use crate::base::clock::{Clock, Stopwatch, Timestamp};

/// Credentials are renewed this long before they expire.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Credentials that never expire are reloaded this often, in case a file has changed.
const REREAD: Duration = Duration::from_secs(3600);

/// Shortest and longest backoff after a failure. The shortest also separates renewals that requests trigger.
const RETRY: std::ops::Range<Duration> = Duration::from_secs(2)..Duration::from_secs(60);

/// Timeout for one attempt of the chain.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a request waits for the first credentials, and how long after startup requests wait at all.
const FIRST: Duration = Duration::from_secs(10);
const LOADING: Duration = Duration::from_secs(60);

/// The reason for rejecting credentials. No request could be signed with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// A required part is empty.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A part has a character that is invalid in a header field.
    #[error("{0} contains a space, a line break or another character that no AWS key has")]
    Character(&'static str),
}

/// Installed credentials that sign requests.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The keys, in the signer's format. The secret is never printed.
    pub identity: Identity,
    /// A counter that increases with every change of the keys.
    pub generation: u64,
}

/// The credentials of this process.
#[derive(Debug, Default)]
pub struct Credentials {
    installed: ArcSwapOption<Installed>,
    generation: AtomicU64,
    wake: Notify,
    /// Whether the first credentials are still loading.
    is_loading: AtomicBool,
    /// Runs since startup, if the credentials are loaded here.
    started: Option<Stopwatch>,
    loaded: Notify,
}

impl Credentials {
    /// Creates an empty set of credentials.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Creates an empty set of credentials, which [`Credentials::keep_fresh`] fills.
    #[must_use]
    pub fn loading() -> Arc<Self> {
        let (is_loading, started) = (AtomicBool::new(true), Some(Stopwatch::start()));
        Arc::new(Self { is_loading, started, ..Self::default() })
    }

    /// Whether the first credentials are still loading.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.is_loading.load(Ordering::Acquire)
            && self.started.is_some_and(|started| started.elapsed() < LOADING)
    }

    /// The installed credentials. While the first ones are still loading, waits for them, at most ten
    /// seconds. Cancel-safe.
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

    /// The installed credentials, if any.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Installed>> {
        self.installed.load_full()
    }

    /// When the installed credentials expire, if they do.
    #[must_use]
    pub(crate) fn expiry(&self) -> Option<Timestamp> {
        let installed = self.current()?;
        let keys = installed.identity.data::<Keys>()?;
        keys.expiry().map(Timestamp::from)
    }

    /// The name of their source, if they are loaded from the standard chain.
    pub(crate) fn source(&self) -> Option<&'static str> {
        let installed = self.current()?;
        source_of(installed.identity.data::<Keys>()?)
    }

    /// Requests a renewal soon, because S3 refused the installed credentials or the operator reloads.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Installs keys. Returns `false` if they are already installed. Removes surrounding white space: it
    /// originates in files and variables, and AWS never issues any.
    ///
    /// # Errors
    /// If no request could be signed with them. The installed keys are kept.
    pub fn install(&self, keys: &Keys) -> Result<bool, KeysError> {
        let keys = &validated(keys)?;
        let is_new = self.replace(keys);
        self.end_loading();
        Ok(is_new)
    }

    fn replace(&self, keys: &Keys) -> bool {
        let current = self.current();
        let same = |installed: &Arc<Installed>| {
            let data = installed.identity.data::<Keys>();
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

    /// Loads and renews credentials for as long as the process runs. Never returns.
    pub async fn keep_fresh(self: Arc<Self>, region: String) {
        let mut pause = RETRY.start;
        loop {
            // A provider remembers the files that it has read, so each renewal makes a new one.
            let provider = standard_chain(region.clone()).await;
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
                // However many requests trigger a renewal, wait the shortest backoff.
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
            // The key id is enough to identify the key. The secret is never logged.
            tracing::info!(
                access_key_id = keys.access_key_id().trim(),
                temporary = keys.session_token().is_some(),
                "AWS credentials loaded"
            );
        }
        Ok(keys.expiry())
    }
}

/// Loaded credentials, and their source.
#[derive(Debug)]
pub(crate) struct FoundCredentials {
    /// The installed form of the credentials.
    pub installed: Installed,
    /// The access key id. The secret is never shown.
    pub access_key_id: String,
    /// The source in the chain, such as `environment`.
    pub source: &'static str,
    /// Expiry time, if any.
    pub expiry: Option<Timestamp>,
}

/// Loads credentials once from the standard chain.
///
/// # Errors
/// If there are none. The text gives the reason.
pub(crate) async fn find(region: &str) -> Result<FoundCredentials, String> {
    let keys = provide(standard_chain(region.to_owned()).await.as_ref()).await;
    let keys = keys.map_err(|failure| failure.reason)?;
    let keys = validated(&keys).map_err(|error| error.to_string())?;
    let source = source_of(&keys).unwrap_or("the standard chain");
    Ok(FoundCredentials {
        access_key_id: keys.access_key_id().to_owned(),
        source,
        expiry: keys.expiry().map(Timestamp::from),
        installed: Installed { identity: Identity::from(keys), generation: 1 },
    })
}

/// The reason for not loading credentials.
struct NotLoaded {
    reason: String,
    /// Whether a retry is pointless: the source has none, or they are invalid. Otherwise it may respond later.
    is_final: bool,
}

impl NotLoaded {
    /// `in_use` is whether earlier credentials are still in use.
    fn log(&self, in_use: bool) {
        let Self { reason, is_final } = self;
        let meanwhile = in_use.then_some("the earlier credentials stay in use");
        if *is_final {
            let advice = missing_advice();
            tracing::error!(reason, meanwhile, advice, "no AWS credentials could be loaded");
        } else {
            tracing::error!(
                reason,
                meanwhile,
                "the AWS credential provider returned no credentials; retrying. If this machine has no role, set \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws"
            );
        }
    }
}

impl From<KeysError> for NotLoaded {
    fn from(error: KeysError) -> Self {
        Self { reason: error.to_string(), is_final: true }
    }
}

/// How to provide credentials, if none were found: what is missing in the environment, or the ways to provide them.
pub(crate) fn missing_advice() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let pair = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    match (pair.map(|name| variable(name).is_some()), variable("AWS_PROFILE")) {
        ([true, false], _) => format!("set {}, too: only {} is set", pair[1], pair[0]),
        ([false, true], _) => format!("set {}, too: only {} is set", pair[0], pair[1]),
        (_, Some(profile)) => {
            format!("add credentials to the profile `{profile}` in ~/.aws: AWS_PROFILE selects it")
        }
        _ => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, add a profile to ~/.aws, or give this machine a role".into(),
    }
}

const NO_SOURCE: &str = "neither the environment, ~/.aws nor a role of this machine provides any";

async fn provide(provider: Option<&SharedCredentialsProvider>) -> Result<Keys, NotLoaded> {
    let failed = |reason: String, is_final| NotLoaded { reason, is_final };
    let none = || failed("the standard credential chain has no provider".into(), true);
    let provider = provider.ok_or_else(none)?;
    let answer = tokio::time::timeout(PATIENCE, provider.provide_credentials()).await;
    let silent = |_| failed("the credential provider did not respond in time".into(), false);
    answer.map_err(silent)?.map_err(|error| {
        let is_final = matches!(
            error,
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
        );
        // The SDK's own words name no source.
        let has_none = matches!(error, CredentialsError::CredentialsNotLoaded(_));
        failed(if has_none { NO_SOURCE.into() } else { describe(&error) }, is_final)
    })
}

/// Validates the keys and removes surrounding white space.
fn validated(keys: &Keys) -> Result<Keys, KeysError> {
    let id = checked("the access key id", keys.access_key_id())?;
    // A secret is only hashed. Some stores have spaces in theirs.
    let secret = present("the secret access key", keys.secret_access_key())?;
    let token =
        keys.session_token().map(|token| checked("the session token", token)).transpose()?;
    let mut valid =
        Keys::builder().access_key_id(id).secret_access_key(secret).provider_name("forebay");
    valid.set_session_token(token);
    valid.set_expiry(keys.expiry());
    let mut valid = valid.build();
    if let Some(features) = keys.get_property::<Vec<AwsCredentialFeature>>() {
        valid.set_property(features.clone());
    }
    Ok(valid)
}

/// Validates a part that is sent in a header field.
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

/// Formats an error and its causes on one line.
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
