//! Origins and origin groups.

use std::collections::BTreeMap;

use super::{
    Job,
    report::Node,
    text::{Text, key, list, quote},
};

/// The properties of an origin that behaviors need.
pub(super) struct Imported {
    /// Its id in the configuration.
    pub(super) id: String,
    pub(super) is_bucket: bool,
}

/// Origins and groups by CloudFront id.
pub(super) type Origins = BTreeMap<String, Imported>;

/// The parsed domain name of an S3 origin.
#[derive(Debug, PartialEq, Eq)]
enum BucketHost {
    Bucket { bucket: String, region: Option<String>, endpoint: Option<String> },
    Url,
    Unsupported(&'static str),
}

pub(super) fn origins(job: &Job<'_>, text: &mut Text, config: &Node<'_>) -> Origins {
    let mut known = Origins::new();
    for node in config.get("Origins").items() {
        let theirs = node.get("Id");
        let id = free_id(&theirs, &known);
        text.heading("[[distribution.origin]]");
        text.line("id", quote(&id));
        let is_bucket = target(job, text, &node);
        common(text, &node);
        known.insert(theirs.text_or_default(), Imported { id, is_bucket });
    }
    known
}

/// A valid id: 1 to 64 letters, digits, `-`, `_` and `.`.
fn free_id(theirs: &Node<'_>, known: &Origins) -> String {
    let name = theirs.text().unwrap_or("origin");
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).take(60).collect();
    let taken = |id: &str| known.values().any(|origin| origin.id == id);
    let mut id = plain.clone();
    let mut number = 2;
    while taken(&id) {
        id = format!("{plain}-{number}");
        number += 1;
    }
    if id == name {
        theirs.is_exact("id");
    } else {
        theirs.differs(format!("renamed to `{id}`"));
    }
    id
}

/// Writes the origin's address and protocol. Returns whether it is a bucket.
fn target(job: &Job<'_>, text: &mut Text, node: &Node<'_>) -> bool {
    let domain = node.get("DomainName");
    let name = domain.text().unwrap_or_default();
    if node.get("CustomOriginConfig").is_said() {
        custom(text, node, &domain, name);
        signed_url(job, node, name);
        return false;
    }
    if node.get("VpcOriginConfig").is_said() {
        let vpc = node.get("VpcOriginConfig");
        vpc.get("VpcOriginId")
            .differs("contacted directly: Forebay must run where it can reach this host");
        text.line("url", quote(&format!("https://{name}")));
        response_timeout(text, &vpc.get("OriginReadTimeout"));
        connections(&vpc);
        domain.differs("`url` uses https; change it if the host speaks plain HTTP");
        return false;
    }
    let is_bucket = s3_target(job, text, node, &domain, name);
    response_timeout(text, &node.get("S3OriginConfig").get("OriginReadTimeout"));
    is_bucket
}

/// Writes a bucket, or a placeholder for it. Returns whether the origin is a bucket.
fn s3_target(
    job: &Job<'_>,
    text: &mut Text,
    node: &Node<'_>,
    domain: &Node<'_>,
    name: &str,
) -> bool {
    match place(name) {
        BucketHost::Bucket { bucket, region, endpoint } => {
            text.line("bucket", quote(&bucket));
            if region.is_some() {
                domain.is_exact("bucket, region");
            } else {
                domain.differs(
                    "the host name has no region, so `region` is a guess; `forebay doctor` reports the right one",
                );
            }
            text.line("region", quote(region.as_deref().unwrap_or("us-east-1")));
            if let Some(endpoint) = endpoint {
                text.line("endpoint", quote(&endpoint));
                text.line("path_style", false);
            }
            signing(job, text, node);
            true
        }
        BucketHost::Unsupported(what) => {
            domain.is_dropped(format!("{what} is not supported"));
            text.comment(&format!("{name}: {what} is not supported. Use a bucket instead."));
            job.ledger.to_do(format!("replace {name} with a bucket: {what} is not supported"));
            true
        }
        BucketHost::Url => {
            text.line("url", quote(&format!("https://{name}")));
            domain.is_exact("url");
            signed_url(job, node, name);
            false
        }
    }
}

/// Reports an origin other than a bucket for which CloudFront signs requests, such as a Lambda function URL. It rejects
/// Forebay's requests.
fn signed_url(job: &Job<'_>, node: &Node<'_>, name: &str) {
    let control = node.get("OriginAccessControlId");
    if control.is_said() {
        job.ledger.to_do(format!(
            "let {name} accept requests without an AWS signature, for example with a secret in `custom_headers`: Forebay signs only requests to buckets"
        ));
        control.is_dropped(
            "Forebay signs only requests to buckets; this origin rejects unsigned ones",
        );
    }
}

/// Writes `signing`. CloudFront signs as itself; Forebay signs with the operator's credentials.
fn signing(job: &Job<'_>, text: &mut Text, node: &Node<'_>) {
    const OWN: &str = "signed with your own credentials: see the IAM policy below";
    let identity = node.get("S3OriginConfig").get("OriginAccessIdentity");
    let control = node.get("OriginAccessControlId");
    let access = control.text().and_then(|id| job.parts.access_controls.get(id));
    let behavior = access.and_then(|access| access.get("SigningBehavior")?.as_str());
    match (control.text(), identity.text(), behavior) {
        (_, _, Some("never")) | (None, None, _) => {
            text.line("signing", quote("never"));
            let whose = if control.is_said() { &control } else { &identity };
            whose.is_exact("signing = \"never\"");
        }
        (Some(_), _, Some("no-override")) => {
            text.line("signing", quote("no-override"));
            control.differs(OWN);
        }
        (Some(_), _, None) => {
            control.differs(format!("{OWN}; its file is missing, so all requests are signed"));
        }
        (Some(_), ..) => control.differs(OWN),
        (None, Some(_), _) => identity.differs(OWN),
    }
}

fn custom(text: &mut Text, node: &Node<'_>, domain: &Node<'_>, name: &str) {
    let config = node.get("CustomOriginConfig");
    let policy = config.get("OriginProtocolPolicy");
    let port = |key, usual| config.get(key).number().filter(|port| *port != usual);
    let (http, https) = (port("HTTPPort", 80), port("HTTPSPort", 443));
    let (scheme, port) = match policy.text() {
        Some("http-only") => ("http", http),
        _ => ("https", https),
    };
    if policy.text() == Some("match-viewer") {
        policy.differs("always https; write http:// into `url` if the origin has no TLS");
    } else {
        policy.is_exact("url");
    }
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    text.line("url", quote(&format!("{scheme}://{name}{port}")));
    domain.is_exact("url");
    let protocols = config.get("OriginSslProtocols");
    protocols.differs_if_said("TLS 1.2 and 1.3 only");
    response_timeout(text, &config.get("OriginReadTimeout"));
    connections(&config);
}

/// Reports how connections to the origin differ.
fn connections(config: &Node<'_>) {
    config
        .get("OriginKeepaliveTimeout")
        .differs_if_said("an idle connection is closed after 15 seconds");
    config
        .get("IpAddressType")
        .differs_if_said("all IPv4 and IPv6 addresses of the host are used in turn");
}

fn response_timeout(text: &mut Text, seconds: &Node<'_>) {
    if let Some(number) = seconds.number() {
        seconds.is_exact("response_timeout");
        if number != 30 {
            text.line("response_timeout", number);
        }
    }
}

/// Writes the settings that all kinds of origins have.
fn common(text: &mut Text, node: &Node<'_>) {
    let path = node.get("OriginPath");
    if let Some(origin_path) = path.text() {
        text.line("origin_path", quote(origin_path));
        path.is_exact("origin_path");
    }
    for (theirs, ours, usual) in [
        ("ConnectionAttempts", "connect_attempts", 3),
        ("ConnectionTimeout", "connect_timeout", 10),
    ] {
        let number = node.get(theirs);
        if let Some(value) = number.number() {
            number.is_exact(ours);
            if value != usual {
                text.line(ours, value);
                // CloudFront retries a request without a response as often as it tries to connect.
                if ours == "connect_attempts" {
                    text.line("response_attempts", value);
                }
            }
        }
    }
    let completion = node.get("ResponseCompletionTimeout");
    if let Some(seconds) = completion.number().filter(|seconds| *seconds > 0) {
        completion.is_exact("completion_timeout");
        text.line("completion_timeout", seconds);
    }
    let shield = node.get("OriginShield");
    if shield.get("Enabled").flag() {
        shield.get("OriginShieldRegion").read();
        shield.get("Enabled").is_dropped("Origin Shield is not supported");
    }
    let headers = node.get("CustomHeaders").items();
    if !headers.is_empty() {
        text.heading("[distribution.origin.custom_headers]");
    }
    for header in headers {
        let (name, value) = (header.get("HeaderName"), header.get("HeaderValue"));
        text.line(&key(name.text_or("")), quote(value.text_or("")));
        value.read();
        name.is_exact("custom_headers");
    }
}

/// `[[distribution.origin_group]]`.
pub(super) fn groups(text: &mut Text, config: &Node<'_>, origins: &mut Origins) {
    for node in config.get("OriginGroups").items() {
        let theirs = node.get("Id");
        let id = free_id(&theirs, origins);
        let members = node.get("Members").items();
        let ids: Vec<_> = members.iter().filter_map(|m| m.get("OriginId").text()).collect();
        let known: Vec<&Imported> = ids.iter().filter_map(|id| origins.get(*id)).collect();
        let is_bucket = known.iter().any(|origin| origin.is_bucket);
        text.heading("[[distribution.origin_group]]");
        text.line("id", quote(&id));
        text.line("members", list(known.iter().map(|origin| origin.id.as_str())));
        let criteria = node.get("FailoverCriteria").get("StatusCodes");
        let codes: Vec<_> = criteria.items().iter().filter_map(Node::number).collect();
        text.line("failover_status_codes", format!("{codes:?}"));
        criteria.is_exact("failover_status_codes");
        node.get("Members").is_exact("members");
        let selection = node.get("SelectionCriteria");
        if selection.text().is_some_and(|selection| selection != "default") {
            selection.is_dropped("requests go to the secondary only if the primary fails");
        }
        origins.insert(theirs.text_or_default(), Imported { id, is_bucket });
    }
}

/// Parses an S3 host name (Amazon S3 User Guide, "Virtual hosting" and "Endpoints").
fn place(domain: &str) -> BucketHost {
    let (suffix, rest) = match domain.strip_suffix(".amazonaws.com.cn") {
        Some(rest) => ("amazonaws.com.cn", rest),
        None => match domain.strip_suffix(".amazonaws.com") {
            Some(rest) => ("amazonaws.com", rest),
            None => return BucketHost::Url,
        },
    };
    let labels: Vec<&str> = rest.split('.').collect();
    if labels.iter().any(|label| label.starts_with("s3express-")) {
        return BucketHost::Unsupported("a directory bucket (S3 Express One Zone)");
    }
    let service = labels.iter().rposition(|label| *label == "s3" || label.starts_with("s3-"));
    let Some(service) = service.filter(|place| *place > 0) else { return BucketHost::Url };
    let bucket = labels[..service].join(".");
    let at = |region: &str, endpoint: Option<String>| BucketHost::Bucket {
        bucket: bucket.clone(),
        region: Some(region.to_owned()),
        endpoint,
    };
    let endpoint = || Some(format!("https://{}.{suffix}", labels[service..].join(".")));
    match labels[service..] {
        ["s3-global"] => BucketHost::Unsupported("a multi-region access point"),
        ["s3"] => BucketHost::Bucket { bucket, region: None, endpoint: None },
        ["s3-external-1"] => at("us-east-1", None),
        ["s3-accelerate"] => BucketHost::Bucket { bucket, region: None, endpoint: None },
        ["s3-object-lambda", _] => BucketHost::Unsupported("an object lambda access point"),
        ["s3-website", _] => BucketHost::Url,
        ["s3", region] => at(region, None),
        ["s3" | "s3-fips" | "s3-accesspoint", .., region] => at(region, endpoint()),
        [old] if !old.starts_with("s3-website") => at(&old["s3-".len()..], None),
        _ => BucketHost::Url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_s3_name_bucket_and_region() {
        let bucket =
            |bucket: &str, region: Option<&str>, endpoint: Option<&str>| BucketHost::Bucket {
                bucket: bucket.into(),
                region: region.map(Into::into),
                endpoint: endpoint.map(Into::into),
            };
        let (dublin, oregon) = (Some("eu-west-1"), Some("us-west-2"));
        for (domain, expected) in [
            ("media.s3.eu-west-1.amazonaws.com", bucket("media", dublin, None)),
            ("my.media.s3.eu-west-1.amazonaws.com", bucket("my.media", dublin, None)),
            ("media.s3.amazonaws.com", bucket("media", None, None)),
            ("s3.media.s3.amazonaws.com", bucket("s3.media", None, None)),
            ("media.s3-us-west-2.amazonaws.com", bucket("media", oregon, None)),
            ("media.s3.cn-north-1.amazonaws.com.cn", bucket("media", Some("cn-north-1"), None)),
            (
                "media.s3.dualstack.eu-west-1.amazonaws.com",
                bucket("media", dublin, Some("https://s3.dualstack.eu-west-1.amazonaws.com")),
            ),
            (
                "media.s3-fips.us-west-2.amazonaws.com",
                bucket("media", oregon, Some("https://s3-fips.us-west-2.amazonaws.com")),
            ),
            (
                "door-111122223333.s3-accesspoint.eu-west-1.amazonaws.com",
                bucket(
                    "door-111122223333",
                    dublin,
                    Some("https://s3-accesspoint.eu-west-1.amazonaws.com"),
                ),
            ),
            ("media.s3-external-1.amazonaws.com", bucket("media", Some("us-east-1"), None)),
            ("media.s3-accelerate.amazonaws.com", bucket("media", None, None)),
            ("media.s3-website-us-east-1.amazonaws.com", BucketHost::Url),
            ("media.s3-website.eu-central-1.amazonaws.com", BucketHost::Url),
            (
                "x.mrap.accesspoint.s3-global.amazonaws.com",
                BucketHost::Unsupported("a multi-region access point"),
            ),
            (
                "door-1.s3-object-lambda.eu-west-1.amazonaws.com",
                BucketHost::Unsupported("an object lambda access point"),
            ),
            (
                "media--euw1-az1--x-s3.s3express-euw1-az1.eu-west-1.amazonaws.com",
                BucketHost::Unsupported("a directory bucket (S3 Express One Zone)"),
            ),
            ("x.lambda-url.eu-west-1.on.aws", BucketHost::Url),
            ("lb-1.eu-west-1.elb.amazonaws.com", BucketHost::Url),
            ("www.example.com", BucketHost::Url),
            ("s3.amazonaws.com", BucketHost::Url),
        ] {
            assert_eq!(place(domain), expected, "{domain}");
        }
    }
}
