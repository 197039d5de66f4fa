//! Credentials: their source and their identity.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};

use super::{Chart, keys};
use crate::{
    aws::{FoundCredentials, describe, find, text_of},
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
) -> (Chart, Option<FoundCredentials>) {
    let mut chart = Chart::of("credentials");
    let found = match find(region).await {
        Ok(found) => found,
        Err(reason) => {
            chart.bad(format!("none were found: {reason}"), half_set());
            return (chart, None);
        }
    };
    chart.good(format!("{} from {}", found.access_key_id, found.source));
    if let Some(expiry) = found.expiry {
        let left = expiry.since(clock.now());
        let text = format!("end in {} minutes", left.as_secs() / 60);
        if left.is_zero() {
            chart.bad("they have ended", "renew them");
        } else if matches!(found.source, "environment" | "a profile in ~/.aws") {
            chart.advise(
                text,
                "nobody renews these: give this machine a role, or use keys that last",
            );
        } else {
            chart.good(format!("{text}, and are renewed before"));
        }
    }
    let origins = config.distributions.iter().flat_map(|distribution| &distribution.origins);
    let at_aws = origins.filter(|options| options.protocol.is_signed()).find_map(|origin| {
        let Protocol::S3 { region, .. } = &origin.protocol else { return None };
        origin.address.host.contains(".amazonaws.com").then_some(region)
    });
    if let Some(region) = at_aws {
        identity(&mut chart, &found, region).await;
    }
    (chart, Some(found))
}

/// A hint about incomplete credentials in the environment, if none were found.
fn half_set() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let pair = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    match (pair.map(|name| variable(name).is_some()), variable("AWS_PROFILE")) {
        ([true, false], _) => format!("{} is set, {} is not", pair[0], pair[1]),
        ([false, true], _) => format!("{} is set, {} is not", pair[1], pair[0]),
        (_, Some(profile)) => {
            format!("see that ~/.aws has credentials in the profile `{profile}`, which AWS_PROFILE names")
        }
        _ => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile in ~/.aws, or give this machine a role".into(),
    }
}

/// Requests the identity from STS, which answers for any valid keys (AWS Security Token Service API Reference,
/// "GetCallerIdentity").
async fn identity(chart: &mut Chart, found: &FoundCredentials, region: &str) {
    let service = match Service::of_aws("sts", region) {
        Ok(service) => service,
        Err(error) => return chart.bad(error.to_string(), "mend AWS_ENDPOINT_URL_STS"),
    };
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let fields = HeaderMap::from_iter([(header::CONTENT_TYPE, form)]);
    let question = Bytes::from_static(b"Action=GetCallerIdentity&Version=2011-06-15");
    match service.call(keys(Some(found)), (Method::POST, "/"), fields, question).await {
        Ok(answer) if answer.status.is_success() => {
            let arn = text_of(&answer.content, "Arn").unwrap_or_default();
            chart.good(format!("they are {arn}"));
        }
        Ok(answer) => {
            let code = text_of(&answer.content, "Code").unwrap_or_default();
            let mend = match code.as_str() {
                "SignatureDoesNotMatch" => {
                    "the secret does not belong to the key's id, or this machine's clock is wrong"
                }
                "ExpiredToken" => "renew the session token",
                _ => "use keys of a user or role that exists",
            };
            chart.bad(format!("AWS does not know them: {code}"), mend);
        }
        Err(error) => {
            let text = format!("whose they are cannot be told: {}", describe(&error));
            chart.advise(text, "let this machine reach the STS endpoint, if that matters to you");
        }
    }
}
