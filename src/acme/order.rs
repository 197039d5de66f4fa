//! One order of a certificate (RFC 8555 §7.4).

use std::{sync::Arc, time::Duration};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeHandle, ChallengeType,
    Identifier, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::{AcmeError, error::words};
use crate::tls::{Challenge, Challenges, PendingChallenge};

/// How often an order is polled, and for how long.
const POLLS: RetryPolicy = RetryPolicy::new().timeout(Duration::from_mins(2));

/// The order to place.
pub(super) struct OrderRequest<'a> {
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
    request: &OrderRequest<'_>,
    challenges: &Arc<Challenges>,
) -> Result<String, AcmeError> {
    let mut order = place(account, request).await?;
    let proofs = prove(&mut order, request.host, request.proofs, challenges).await?;
    let polled = order.poll_ready(&POLLS).await;
    drop(proofs);
    match polled {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => {}
        Ok(_) => return Err(not_proven(&mut order, None).await),
        Err(instant_acme::Error::Api(problem)) => {
            return Err(not_proven(&mut order, Some(problem)).await);
        }
        Err(error) => return Err(error.into()),
    }
    let key = KeyPair::generate().map_err(|error| AcmeError::Unusable(error.to_string()))?;
    order.finalize_csr(&signing_request(request.host, &key)?).await?;
    let chain = order.poll_certificate(&POLLS).await?;
    Ok(format!("{}{chain}", key.serialize_pem()))
}

async fn place(account: &Account, request: &OrderRequest<'_>) -> Result<Order, AcmeError> {
    let identifiers = [Identifier::Dns(request.host.to_owned())];
    let new = |replaces: Option<CertificateIdentifier<'static>>| {
        let mut new = NewOrder::new(&identifiers);
        if let Some(profile) = request.profile {
            new = new.profile(profile);
        }
        if let Some(replaces) = replaces {
            new = new.replaces(replaces);
        }
        new
    };
    let Some(replaces) = request.replaces.clone() else {
        return Ok(account.new_order(&new(None)).await?);
    };
    match account.new_order(&new(Some(replaces))).await {
        Ok(order) => Ok(order),
        // The authority has no ARI, or has forgotten that certificate, or issued it to another account, or another order
        // has replaced it.
        Err(error) if is_about_replacement(&error) => Ok(account.new_order(&new(None)).await?),
        Err(error) => Err(error.into()),
    }
}

fn is_about_replacement(error: &instant_acme::Error) -> bool {
    match error {
        instant_acme::Error::Unsupported(_) => true,
        instant_acme::Error::Other(error) => error.to_string().starts_with("replaces field"),
        instant_acme::Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or_default();
            let ends = ["alreadyReplaced", "malformed", "notFound", "unauthorized"];
            ends.iter().any(|end| kind.ends_with(end))
        }
        _ => false,
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

/// The error if the authority did not accept a proof, or refused the order with a `problem`.
async fn not_proven(order: &mut Order, problem: Option<Problem>) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let found = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = found {
            return AcmeError::NotProven(words(problem));
        }
    }
    match problem {
        Some(problem) => instant_acme::Error::Api(problem).into(),
        None => AcmeError::NotProven("it gives no reason".to_owned()),
    }
}
