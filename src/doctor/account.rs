//! Credentials: their source and their identity.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};

use super::{Checks, keys};
use crate::{
    aws::{FoundCredentials, describe, find, missing_advice, text_of},
    base::clock::Clock,
    config::Config,
    origin::Protocol,
    outbound::Service,
};

/// Looks for credentials. If any bucket is at AWS, checks their identity there.
pub(super) async fn examine(
    config: &Config,
    region: &str,
    clock: &Clock,
) -> (Checks, Option<FoundCredentials>) {
    let mut checks = Checks::of("credentials");
    let found = match find(region).await {
        Ok(found) => found,
        Err(reason) => {
            checks.bad(format!("no credentials found: {reason}"), missing_advice());
            return (checks, None);
        }
    };
    checks.good(format!("{} from {}", found.access_key_id, found.source));
    if let Some(expiry) = found.expiry {
        let left = expiry.since(clock.now());
        let text = format!("the credentials expire in {} minutes", left.as_secs() / 60);
        if left.is_zero() {
            checks.bad("the credentials have expired", "renew them");
        } else if matches!(found.source, "environment" | "a profile") {
            checks.advise(
                text,
                "Forebay cannot renew these: give this machine a role, or use long-term keys",
            );
        } else {
            checks.good(format!("{text}; Forebay renews them before that"));
        }
    }
    let origins = config.all_distributions().flat_map(|distribution| &distribution.origins);
    let at_aws = origins.filter(|options| options.protocol.is_signed()).find_map(|origin| {
        let Protocol::S3 { region, .. } = &origin.protocol else { return None };
        origin.address.host.contains(".amazonaws.com").then_some(region)
    });
    if let Some(region) = at_aws {
        identity(&mut checks, &found, region).await;
    }
    (checks, Some(found))
}

/// Requests the identity from STS, which answers for any valid keys (AWS Security Token Service API Reference,
/// "GetCallerIdentity").
async fn identity(checks: &mut Checks, found: &FoundCredentials, region: &str) {
    let service = match Service::of_aws("sts", region) {
        Ok(service) => service,
        Err(error) => return checks.bad(error.to_string(), "correct AWS_ENDPOINT_URL_STS"),
    };
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let fields = HeaderMap::from_iter([(header::CONTENT_TYPE, form)]);
    let form_content = Bytes::from_static(b"Action=GetCallerIdentity&Version=2011-06-15");
    match service.call(keys(Some(found)), (Method::POST, "/"), fields, form_content).await {
        Ok(answer) if answer.status.is_success() => {
            let arn = text_of(&answer.content, "Arn").unwrap_or_default();
            checks.good(format!("the credentials belong to {arn}"));
        }
        Ok(answer) => {
            let code = text_of(&answer.content, "Code").unwrap_or_default();
            let fix = match code.as_str() {
                "SignatureDoesNotMatch" => "check the secret access key, and this machine's clock",
                "ExpiredToken" => "renew the session token",
                _ => "use keys of a user or role that exists",
            };
            checks.bad(format!("AWS rejects the credentials: {code}"), fix);
        }
        Err(error) => {
            let text =
                format!("cannot determine the owner of the credentials: {}", describe(&error));
            checks.advise(
                text,
                "allow this machine to reach the STS endpoint, if you want this check",
            );
        }
    }
}
