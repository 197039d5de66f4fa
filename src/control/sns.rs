//! Events from SNS topics: verifies message signatures and confirms subscriptions
//! (Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages").

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::Semaphore;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{Refusal, State, events};
use crate::{aws::describe, base::clock::Timestamp, outbound::Service};

/// Maximum number of cached certificates. SNS rarely changes its own.
const MOST_CERTIFICATES: usize = 8;

/// Maximum age of a message. SNS delivers no later than this, so an older message is a replay.
const OLDEST: std::time::Duration = std::time::Duration::from_secs(3600);

/// Certificates by URL, and a semaphore for fetching one.
pub(super) struct Certificates(Mutex<BTreeMap<String, Bytes>>, Semaphore);

impl Default for Certificates {
    fn default() -> Self {
        Self(Mutex::default(), Semaphore::new(1))
    }
}

/// An SNS message of any type.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    r#type: String,
    message_id: String,
    topic_arn: String,
    message: String,
    subject: Option<String>,
    timestamp: String,
    token: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
}

/// Handles a message: the events of a notification, or a subscription to confirm. Rejects messages that SNS
/// did not sign or whose topic is not configured.
pub(super) async fn take(state: &Arc<State>, content: &[u8]) -> Result<events::Taken, Refusal> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    let forbidden = |message: &str| (StatusCode::FORBIDDEN, message.to_owned());
    let message: Envelope = serde_json::from_slice(content)
        .map_err(|error| bad(format!("not an SNS message: {error}")))?;
    if !state.topics.load().contains(&message.topic_arn) {
        return Err(forbidden("this topic is not listed in `events.topics`"));
    }
    let region = message.topic_arn.split(':').nth(3).unwrap_or_default();
    let service = sns(region).map_err(|error| (StatusCode::BAD_GATEWAY, error))?;
    let certificate = certificate(state, &service, &message).await?;
    if !message.is_signed_by(&certificate, state.clock.now()) {
        return Err(forbidden("the message is not signed by SNS, or is more than an hour old"));
    }
    state.certificates.keep(&message.signing_cert_url, certificate);
    match message.r#type.as_str() {
        "Notification" => events::take(state, message.message.as_bytes(), &message.topic_arn).await,
        "SubscriptionConfirmation" => confirm(&service, &message).await,
        other => {
            tracing::warn!(
                topic = message.topic_arn,
                r#type = other,
                "ignored an SNS message of an unsupported type"
            );
            Ok(events::Taken::nothing())
        }
    }
}

fn sns(region: &str) -> Result<Service, String> {
    let is_region = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if region.is_empty() || !region.bytes().all(is_region) {
        return Err(format!("`{region}` is not an AWS region"));
    }
    Service::of_aws("sns", region).map_err(|error| error.to_string())
}

/// Fetches the certificate that a message names. The URL must belong to SNS itself.
async fn certificate(
    state: &State,
    service: &Service,
    message: &Envelope,
) -> Result<Bytes, Refusal> {
    let url = &message.signing_cert_url;
    let target = url.strip_prefix(&service.url()).filter(|target| {
        let name = target.strip_prefix("/SimpleNotificationService-");
        let name = name.and_then(|name| name.strip_suffix(".pem"));
        name.is_some_and(|name| name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric()))
    });
    let Some(target) = target else {
        let reason = "the message's SigningCertURL does not belong to SNS in the topic's region";
        return Err((StatusCode::FORBIDDEN, reason.to_owned()));
    };
    if let Some(known) = state.certificates.0.lock().get(url) {
        return Ok(known.clone());
    }
    // A sender that knows a topic can invent certificate names, so only one fetch runs at a time.
    let Ok(_turn) = state.certificates.1.try_acquire() else {
        let reason = "another certificate is being fetched; try again";
        return Err((StatusCode::TOO_MANY_REQUESTS, reason.to_owned()));
    };
    let fetched = service.call(None, (Method::GET, target), HeaderMap::new(), Bytes::new()).await;
    let bad = |reason: String| {
        (StatusCode::BAD_GATEWAY, format!("cannot fetch SNS's certificate: {reason}"))
    };
    let answer = fetched.map_err(|error| bad(describe(&error)))?;
    if answer.status != StatusCode::OK {
        return Err(bad(format!("SNS answered {}", answer.status)));
    }
    Ok(answer.content)
}

impl Certificates {
    /// Caches a certificate after it has verified a message.
    fn keep(&self, url: &str, certificate: Bytes) {
        let mut known = self.0.lock();
        if known.len() >= MOST_CERTIFICATES && !known.contains_key(url) {
            known.clear();
        }
        known.insert(url.to_owned(), certificate);
    }
}

/// Confirms a subscription at SNS. The URL is built here and not taken from the message.
async fn confirm(service: &Service, message: &Envelope) -> Result<events::Taken, Refusal> {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let target = format!(
        "/?Action=ConfirmSubscription&TopicArn={}&Token={}",
        encode(&message.topic_arn),
        encode(message.token.as_deref().unwrap_or_default())
    );
    let asked = service.call(None, (Method::GET, &target), HeaderMap::new(), Bytes::new()).await;
    let reason = match asked {
        Ok(answer) if answer.status.is_success() => {
            tracing::info!(topic = message.topic_arn, "the subscription is confirmed");
            return Ok(events::Taken::nothing());
        }
        Ok(answer) => format!("SNS answered {}", answer.status),
        Err(error) => describe(&error),
    };
    tracing::error!(topic = message.topic_arn, reason, "the subscription cannot be confirmed");
    Err((StatusCode::BAD_GATEWAY, format!("the subscription cannot be confirmed: {reason}")))
}

impl Envelope {
    /// Whether the key of this PEM certificate signed the message, and the message is at most an hour old.
    fn is_signed_by(&self, certificate: &[u8], now: Timestamp) -> bool {
        self.is_recent(now) && self.verify(certificate).is_some()
    }

    fn is_recent(&self, now: Timestamp) -> bool {
        let Ok(at) = OffsetDateTime::parse(&self.timestamp, &Rfc3339) else { return false };
        let Ok(seconds) = u64::try_from(at.unix_timestamp()) else { return false };
        let at = Timestamp::from_secs(seconds);
        now.since(at) <= OLDEST && at.since(now) <= OLDEST
    }

    fn verify(&self, certificate: &[u8]) -> Option<()> {
        let der = CertificateDer::from_pem_slice(certificate).ok()?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let algorithm = match self.signature_version.as_str() {
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return None,
        };
        let key = UnparsedPublicKey::new(algorithm, &parsed.public_key().subject_public_key.data);
        let signature = BASE64_STANDARD.decode(&self.signature).ok()?;
        key.verify(self.signed_text().as_bytes(), &signature).ok()
    }

    /// The text that SNS signs: alternating names and values, sorted by name.
    fn signed_text(&self) -> String {
        let is_notification = self.r#type == "Notification";
        let of = |wanted: bool, value: &Option<String>| value.clone().filter(|_| wanted);
        let parts = [
            ("Message", Some(self.message.clone())),
            ("MessageId", Some(self.message_id.clone())),
            ("Subject", of(is_notification, &self.subject)),
            ("SubscribeURL", of(!is_notification, &self.subscribe_url)),
            ("Timestamp", Some(self.timestamp.clone())),
            ("Token", of(!is_notification, &self.token)),
            ("TopicArn", Some(self.topic_arn.clone())),
            ("Type", Some(self.r#type.clone())),
        ];
        let lines =
            parts.into_iter().filter_map(|(name, value)| Some(format!("{name}\n{}\n", value?)));
        lines.collect::<Vec<_>>().concat()
    }
}
