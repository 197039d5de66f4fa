//! The account at the authority.

use std::path::Path;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{AcmeError, AcmeOptions, client::Client, storage::Storage};

/// An account, as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredAccount {
    credentials: AccountCredentials,
    /// The options that it was created with.
    email: Option<String>,
    external_account_id: Option<String>,
}

/// The account at the authority, which the first request for it loads or creates.
#[derive(Default)]
pub(super) struct SharedAccount(Mutex<Option<Account>>);

impl SharedAccount {
    /// The account.
    pub(super) async fn get(
        &self,
        options: &AcmeOptions,
        storage: &Storage,
    ) -> Result<Account, AcmeError> {
        let mut account = self.0.lock().await;
        if let Some(account) = &*account {
            return Ok(account.clone());
        }
        let found = match stored(storage)? {
            Some(found) if found.external_account_id.as_ref() == external_id(options) => {
                restored(found, options, storage).await?
            }
            _ => created(options, storage).await?,
        };
        Ok(account.insert(found).clone())
    }

    /// Forgets an account that the authority no longer knows, unless that has happened already. The next request creates
    /// another one.
    pub(super) async fn forget(&self, unknown: &Account, storage: &Storage) {
        let mut account = self.0.lock().await;
        if account.as_ref().is_some_and(|account| account.id() == unknown.id()) {
            *account = None;
            storage.set_account_aside();
        }
    }
}

/// Whether the authority does not know the account, for example because it lost its data (RFC 8555 §6.7).
pub(super) fn is_unknown_account(error: &instant_acme::Error) -> bool {
    let instant_acme::Error::Api(problem) = error else { return false };
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}

fn external_id(options: &AcmeOptions) -> Option<&String> {
    options.external_account.as_ref().map(|(id, _)| id)
}

fn stored(storage: &Storage) -> Result<Option<StoredAccount>, AcmeError> {
    let Some(text) = storage.account()? else { return Ok(None) };
    let parsed = serde_json::from_slice(&text);
    if let Err(error) = &parsed {
        tracing::warn!(%error, "the stored account is damaged; another one is created");
        storage.set_account_aside();
    }
    Ok(parsed.ok())
}

async fn restored(
    found: StoredAccount,
    options: &AcmeOptions,
    storage: &Storage,
) -> Result<Account, AcmeError> {
    let account = builder(options).from_credentials(found.credentials).await?;
    if found.email != options.email {
        let contacts = contacts(options);
        let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
        if let Err(error) = account.update_contacts(&contacts).await {
            // The account works without it, and the next start tries again.
            tracing::warn!(%error, "the authority did not accept the new `listen.acme.email`");
        } else if let Some(found) = stored(storage)? {
            save(storage, &StoredAccount { email: options.email.clone(), ..found });
        }
    }
    Ok(account)
}

async fn created(options: &AcmeOptions, storage: &Storage) -> Result<Account, AcmeError> {
    let external = match &options.external_account {
        Some((id, file)) => Some(ExternalAccountKey::new(id.clone(), &external_key(file)?)),
        None => None,
    };
    let contacts = contacts(options);
    let new = NewAccount {
        contact: &contacts.iter().map(String::as_str).collect::<Vec<_>>(),
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let directory = options.directory.clone();
    let created = builder(options).create(&new, directory, external.as_ref()).await?;
    let (account, credentials) = created;
    let external_account_id = external_id(options).cloned();
    let email = options.email.clone();
    save(storage, &StoredAccount { credentials, email, external_account_id });
    Ok(account)
}

/// Stores an account. If that fails, this process can still use it.
fn save(storage: &Storage, account: &StoredAccount) {
    let text = serde_json::to_vec(account).unwrap_or_default();
    if let Err(error) = storage.save_account(&text) {
        tracing::error!(%error, "the account cannot be stored, so the next start creates another one");
    }
}

fn builder(options: &AcmeOptions) -> instant_acme::AccountBuilder {
    Account::builder_with_http(Box::new(Client { ca_file: options.ca_file.clone() }))
}

fn contacts(options: &AcmeOptions) -> Vec<String> {
    options.email.iter().map(|email| format!("mailto:{email}")).collect()
}

/// Reads the HMAC key of an external account.
pub(super) fn external_key(file: &Path) -> Result<Vec<u8>, AcmeError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| AcmeError::ExternalKeyFile { path: file.to_owned(), source })?;
    let key = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
    key.ok().filter(|key| !key.is_empty()).ok_or_else(|| AcmeError::ExternalKey(file.to_owned()))
}
