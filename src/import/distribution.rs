//! Settings of a distribution other than origins and behaviors.

use super::{
    Job, Need, Tls,
    behavior::behaviors,
    documents::Document,
    origin::{groups, origins},
    report::Node,
    text::{Text, list, quote},
};
use crate::behavior::SecurityPolicy;

/// Writes a distribution; `alone` is true if it is the only one.
pub(super) fn distribution(job: &Job<'_>, document: &Document, alone: bool) -> Text {
    let id = job.free_id(document.id.as_deref(), &document.name);
    let name = if alone { String::new() } else { format!("{id}: ") };
    let root = job.ledger.root(&name, &document.content);
    let config = document.inside.iter().fold(root.clone(), |node, key| node.get(key));
    let mut text = Text::default();
    if let Some(comment) = config.get("Comment").text() {
        text.comment(comment);
    }
    text.push("[[distribution]]");
    text.line("id", quote(&id));
    identity(&mut text, document, &config, &id, alone);
    let object = config.get("DefaultRootObject");
    if let Some(name) = object.text() {
        // CloudFront also accepts a leading slash.
        text.line("default_root_object", quote(name.trim_start_matches('/')));
        object.is_exact("default_root_object");
    }
    viewers(job, &mut text, &config);
    restrictions(job, &mut text, &config);
    let tags = config.get("CacheTagConfig").get("HeaderName");
    if let Some(name) = tags.text() {
        text.line("cache_tag_header", quote(name));
        tags.is_exact("cache_tag_header");
    }
    error_responses(&mut text, &config);
    let mut origins = origins(job, &mut text, &config);
    groups(&mut text, &config, &mut origins);
    behaviors(job, &mut text, &config, &origins);
    logging(job, &config);
    not_here(job, &config);
    // Fields around the configuration (ARN, status, ETag) do not matter here.
    job.ledger.tell_unread(&config);
    text
}

fn identity(text: &mut Text, document: &Document, config: &Node<'_>, id: &str, alone: bool) {
    if document.id.is_none() {
        config.get("Id").differs(format!(
            "the document has no distribution id, so the id is `{id}`, after the file name; use it in invalidations"
        ));
    }
    let aliases = config.get("Aliases");
    let hosts = aliases.strings();
    if !hosts.is_empty() {
        text.line("aliases", list(hosts));
        aliases.is_exact("aliases");
    } else if alone && !aliases.is_odd_list() {
        text.line("aliases", list(["*"]));
        aliases.differs("no aliases: Forebay serves any host");
    } else {
        let domain = document.domain.clone().unwrap_or_else(|| format!("{id}.cloudfront.net"));
        text.line("aliases", list([domain.to_ascii_lowercase().as_str()]));
        aliases.differs("no aliases: add the host names that viewers will use");
    }
    let enabled = config.get("Enabled");
    if !enabled.flag() {
        enabled.differs("the distribution is disabled: `allow = []` rejects all requests");
    }
}

/// Writes the TLS and HTTP settings.
fn viewers(job: &Job<'_>, text: &mut Text, config: &Node<'_>) {
    let certificate = config.get("ViewerCertificate");
    let version = certificate.get("MinimumProtocolVersion");
    if let Some(name) = version.text() {
        if SecurityPolicy::NAMES.iter().any(|(known, _)| *known == name) {
            text.line("minimum_protocol_version", quote(name));
            version.is_exact("minimum_protocol_version");
        } else {
            version.differs("TLSv1.2_2021: older policies are not supported");
        }
    }
    let default = certificate.get("CloudFrontDefaultCertificate");
    if default.flag() {
        default.differs(
            "use your own certificate: the one for *.cloudfront.net belongs to CloudFront",
        );
    }
    for key in ["ACMCertificateArn", "IAMCertificateId"] {
        let arn = certificate.get(key);
        if arn.is_said() {
            arn.differs("use your own certificate: the private key of this one cannot leave AWS");
        }
    }
    if *job.tls == Tls::Before {
        text.line("public_scheme", quote("https"));
    }
    // Older documents repeat these settings under other names.
    for key in ["Certificate", "CertificateSource"] {
        let repeated = certificate.get(key);
        if repeated.is_said() {
            repeated.is_exact("repeats the certificate");
        }
    }
    let method = certificate.get("SSLSupportMethod");
    if method.text().is_some_and(|method| method != "sni-only") {
        method.differs("the certificate is selected by SNI");
    }
    let version = config.get("HttpVersion");
    match version.text() {
        Some("http1.1") => {
            text.line("http_version", quote("http1.1"));
            version.is_exact("http_version");
        }
        Some("http2") => {
            text.line("http_version", quote("http2"));
            version.is_exact("http_version");
        }
        Some(_) => {
            version.differs("HTTP/1.1 and HTTP/2; also HTTP/3 with `http3 = true` under [listen]");
        }
        None => {}
    }
    let ipv6 = config.get("IsIPV6Enabled");
    if ipv6.flag() {
        ipv6.is_exact("listen");
    }
}

fn restrictions(job: &Job<'_>, text: &mut Text, config: &Node<'_>) {
    let are_known = countries(job, text, config);
    let mut reasons = Vec::new();
    if !config.get("Enabled").flag() {
        reasons.push("It is disabled at CloudFront: remove this line to serve it.");
    }
    if !are_known {
        job.ledger.to_do("set `geo_restriction`; then remove `allow = []`");
        reasons.push("The document restricts countries in a way that Forebay does not understand.");
    }
    let behaviors = config.get("CacheBehaviors");
    if behaviors.is_odd_list() {
        job.ledger.to_do("add the behaviors; then remove `allow = []`");
        behaviors.is_dropped(
            "not a list of behaviors; `allow = []` rejects all requests until you remove it",
        );
        reasons.push("The behaviors could not be imported.");
    }
    for (key, reason, dropped, to_do) in [
        (
            "ViewerMtlsConfig",
            "CloudFront requires viewer certificates. Forebay does not.",
            "viewer certificates are not supported; `allow = []` rejects all requests until you remove it",
            "decide which viewers to serve without certificates; then remove `allow = []`",
        ),
        (
            "WebACLId",
            "At CloudFront, a web ACL decides which requests are served.",
            "Forebay has no web application firewall; `allow = []` rejects all requests until you remove it",
            "replace the web ACL with `allow`, `deny`, `rate_limit` or a firewall; then remove `allow = []`",
        ),
        (
            "ConnectionFunctionAssociation",
            "At CloudFront, a function accepts or refuses connections.",
            "Forebay runs no edge functions; `allow = []` rejects all requests until you remove it",
            "check what the connection function does; then remove `allow = []`",
        ),
    ] {
        let node = config.get(key);
        if node.is_said() {
            reasons.push(reason);
            node.is_dropped(dropped);
            job.ledger.to_do(to_do);
        }
    }
    if !reasons.is_empty() {
        for reason in reasons {
            text.comment(reason);
        }
        text.comment("Until you remove this line, all requests get 403.");
        text.line("allow", "[]");
    }
}

/// Writes `geo_restriction`. Returns whether the document's country settings are understood.
fn countries(job: &Job<'_>, text: &mut Text, config: &Node<'_>) -> bool {
    let geo = config.get("Restrictions").get("GeoRestriction");
    let is_list = !geo.is_odd_list() && geo.items().len() == geo.strings().len();
    match geo.get("RestrictionType").text() {
        Some(word @ ("whitelist" | "blacklist")) if is_list && !geo.items().is_empty() => {
            text.line("geo_restriction", format!("{{ {word} = {} }}", list(geo.strings())));
            geo.differs("add your own database of viewers' countries: see [geo]");
            job.need(Need::Geography);
            true
        }
        Some("none") => is_list && geo.items().is_empty(),
        Some(_) => false,
        None => !config.get("Restrictions").is_said(),
    }
}

/// `[[distribution.custom_error_response]]`.
fn error_responses(text: &mut Text, config: &Node<'_>) {
    for node in config.get("CustomErrorResponses").items() {
        let code = node.get("ErrorCode");
        let Some(number) = code.number() else { continue };
        let (page, ttl) = (node.get("ResponsePagePath"), node.get("ErrorCachingMinTTL"));
        let response = node.get("ResponseCode");
        let seconds = ttl.number();
        if number == 416 && seconds.is_some() {
            ttl.differs("a 416 is never cached");
        }
        let seconds = seconds.filter(|_| number != 416);
        if page.text().is_none() && seconds.is_none() {
            continue;
        }
        text.heading("[[distribution.custom_error_response]]");
        text.line("error_code", number);
        if let Some(path) = page.text() {
            text.line("response_page_path", quote(path));
            if let Some(status) = response.number() {
                text.line("response_code", status);
            }
        }
        if let Some(seconds) = seconds {
            text.line("error_caching_min_ttl", seconds);
        }
        response.read();
        page.read();
        code.is_exact("custom_error_response");
    }
}

fn logging(job: &Job<'_>, config: &Node<'_>) {
    let logging = config.get("Logging");
    let (bucket, prefix) = (logging.get("Bucket"), logging.get("Prefix"));
    let cookies = logging.get("IncludeCookies");
    // These settings have no effect while logging is off.
    let is_on = logging.get("Enabled").flag();
    if is_on {
        prefix.differs_if_said(
            "files are named after the distribution and the hour: set their directory in [access_log]",
        );
        job.need(Need::Log);
        bucket.differs("written to a local directory, in the same format: see [access_log]");
        if cookies.flag() {
            cookies.is_dropped("cookies are not logged");
        }
    } else {
        logging.read();
    }
}

/// Reports settings that have no meaning outside CloudFront.
fn not_here(job: &Job<'_>, config: &Node<'_>) {
    let reference = config.get("CallerReference");
    if reference.is_said() {
        reference.is_exact("not applicable");
    }
    config.drop_each([
        ("AnycastIpListId", "viewers connect to this machine's addresses"),
        ("TenantConfig", "tenants are not supported"),
    ]);
    // It is imported by itself.
    config.get("Staging").read();
    let policy = config.get("ContinuousDeploymentPolicyId");
    match policy.text().and_then(|id| job.deployments.get(id)) {
        Some(None) => policy.is_exact("staging"),
        Some(Some(reason)) => policy.is_dropped(reason.clone()),
        None => {}
    }
    let mode = config.get("ConnectionMode");
    if mode.text().is_some_and(|mode| mode != "direct") {
        mode.is_dropped("tenants are not supported");
    }
    let class = config.get("PriceClass");
    if class.is_said() {
        class.is_exact("not applicable");
    }
}
