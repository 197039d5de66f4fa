//! One order of a certificate (RFC 8555 §7.4).

use std::{sync::Arc, time::Duration};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeHandle, ChallengeType,
    Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::{AcmeError, error::words};
use crate::tls::{Challenge, Challenges, PendingChallenge};

/// How often the authority is asked whether it is done, and for how long.
const POLLS: RetryPolicy = RetryPolicy::new().timeout(Duration::from_mins(2));

/// What is ordered.
pub(super) struct Wish<'a> {
    pub(super) host: &'a str,
    pub(super) profile: Option<&'a str>,
    /// The certificate that the new one replaces (RFC 9773 §5).
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
    /// The kinds of proof, the preferred one first.
    pub(super) proofs: &'a [ChallengeType],
}

/// Orders a certificate. Returns its key and its chain, in PEM.
pub(super) async fn obtain(
    account: &Account,
    wish: Wish<'_>,
    challenges: &Arc<Challenges>,
) -> Result<String, AcmeError> {
    let identifiers = [Identifier::Dns(wish.host.to_owned())];
    let mut new = NewOrder::new(&identifiers);
    if let Some(profile) = wish.profile {
        new = new.profile(profile);
    }
    let mut order = match wish.replaces {
        // The authority may have forgotten that certificate, or another order may have replaced it.
        Some(id) => match account.new_order(&new.replaces(id)).await {
            Ok(order) => order,
            Err(_) => account.new_order(&plain(&identifiers, wish.profile)).await?,
        },
        None => account.new_order(&new).await?,
    };
    let proofs = prove(&mut order, wish.host, wish.proofs, challenges).await?;
    let polled = order.poll_ready(&POLLS).await;
    drop(proofs);
    match polled {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => {}
        Ok(_) | Err(instant_acme::Error::Api(_)) => return Err(not_proven(&mut order).await),
        Err(error) => return Err(error.into()),
    }
    let key = KeyPair::generate().map_err(|error| AcmeError::Unusable(error.to_string()))?;
    order.finalize_csr(&signing_request(wish.host, &key)?).await?;
    let chain = order.poll_certificate(&POLLS).await?;
    Ok(format!("{}{chain}", key.serialize_pem()))
}

fn plain<'a>(identifiers: &'a [Identifier], profile: Option<&'a str>) -> NewOrder<'a> {
    let new = NewOrder::new(identifiers);
    match profile {
        Some(profile) => new.profile(profile),
        None => new,
    }
}

/// Answers the challenges of an order. The proofs can be seen until they are dropped.
async fn prove(
    order: &mut Order,
    host: &str,
    proofs: &[ChallengeType],
    challenges: &Arc<Challenges>,
) -> Result<Vec<PendingChallenge>, AcmeError> {
    let mut pending = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let offered = |kind: &&ChallengeType| {
            authorization.challenges.iter().any(|challenge| challenge.r#type == **kind)
        };
        let kind = proofs.iter().find(offered).cloned().ok_or(AcmeError::NoChallenge)?;
        let mut challenge = authorization.challenge(kind).ok_or(AcmeError::NoChallenge)?;
        pending.push(challenges.begin(answer(host, &challenge)?));
        challenge.set_ready().await?;
    }
    Ok(pending)
}

fn answer(host: &str, challenge: &ChallengeHandle<'_>) -> Result<Challenge, AcmeError> {
    let key_authorization = challenge.key_authorization();
    let certificate = proof_certificate(host, key_authorization.digest().as_ref())?;
    Ok(Challenge {
        host: host.to_owned(),
        token: challenge.token.clone(),
        key_authorization: key_authorization.as_str().to_owned(),
        certificate,
    })
}

/// The certificate that TLS-ALPN-01 expects (RFC 8737 §3).
fn proof_certificate(host: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, AcmeError> {
    let refuse = |error: &dyn std::error::Error| AcmeError::Unusable(error.to_string());
    let mut params = CertificateParams::new([host.to_owned()]).map_err(|error| refuse(&error))?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(|error| refuse(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| refuse(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| refuse(&error))?;
    // Not `from_der`, which refuses the extension because it is critical.
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

fn signing_request(host: &str, key: &KeyPair) -> Result<Vec<u8>, AcmeError> {
    let refuse = |error: rcgen::Error| AcmeError::Unusable(error.to_string());
    let mut params = CertificateParams::new([host.to_owned()]).map_err(refuse)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key).map_err(refuse)?.der().to_vec())
}

/// What the authority found when it looked for the proof.
async fn not_proven(order: &mut Order) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let found = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = found {
            return AcmeError::NotProven(words(problem));
        }
    }
    AcmeError::NotProven("it gives no reason".to_owned())
}
