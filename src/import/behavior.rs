//! Cache behaviors.

use super::{
    Job, Tls, edge_code,
    origin::Origins,
    policies,
    report::Node,
    text::{Text, key, list, quote},
};

/// Writes the default behavior, then the others in order.
pub(super) fn behaviors(job: &Job<'_>, text: &mut Text, config: &Node<'_>, origins: &Origins) {
    let aliases = config.get("Aliases").strings();
    let table = "distribution.default_behavior";
    text.heading(&format!("[{table}]"));
    behavior(job, text, &config.get("DefaultCacheBehavior"), origins, (table, &aliases));
    for node in config.get("CacheBehaviors").items() {
        let table = "distribution.behavior";
        text.heading(&format!("[[{table}]]"));
        let pattern = node.get("PathPattern");
        text.line("path_pattern", quote(pattern.text_or("")));
        pattern.is_exact("path_pattern");
        behavior(job, text, &node, origins, (table, &aliases));
    }
}

/// Writes a behavior in a table, for a distribution with these aliases.
fn behavior(
    job: &Job<'_>,
    text: &mut Text,
    node: &Node<'_>,
    origins: &Origins,
    (table, aliases): (&str, &[&str]),
) {
    let target = node.get("TargetOriginId");
    let theirs = target.text().unwrap_or_default();
    let origin = origins.get(theirs);
    text.line("origin", quote(origin.map_or(theirs, |origin| &origin.id)));
    target.is_exact("origin");
    let is_bucket = origin.is_some_and(|origin| origin.is_bucket);
    policies::of_behavior(job, text, node, is_bucket);
    let protocol = node.get("ViewerProtocolPolicy");
    if protocol.text().is_none() && protocol.is_said() {
        text.line("viewer_protocol_policy", quote("https-only"));
        protocol.differs("https-only: the value in the document is not a string");
    }
    if let Some(policy) = protocol.text() {
        protocol.is_exact("viewer_protocol_policy");
        if policy != "allow-all" && *job.tls == Tls::Unknown {
            job.ledger.to_do("set up TLS, because plain HTTP requests are redirected or rejected: import with --certificate and --key, or with --tls-ends-before if a load balancer terminates TLS");
        }
        if policy != "allow-all" {
            text.line("viewer_protocol_policy", quote(policy));
        }
    }
    methods(text, &node.get("AllowedMethods"), is_bucket);
    compress(text, node);
    trusted(job, text, node);
    not_here(node);
    let rules = edge_code::rules(job, text, node, aliases);
    for rule in rules {
        text.heading(&format!("[[{table}.rule]]"));
        rule.write(text);
    }
}

fn methods(text: &mut Text, node: &Node<'_>, is_bucket: bool) {
    const READ: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
    let methods = node.strings();
    let is_only_read = methods.iter().all(|method| READ.contains(method));
    let with_options = methods.contains(&"OPTIONS");
    if is_bucket && !is_only_read {
        node.differs("GET, HEAD and OPTIONS: Forebay only reads from buckets");
        if with_options {
            text.line("allowed_methods", list(READ));
        }
    } else if !methods.is_empty() {
        node.is_exact("allowed_methods");
        if !is_only_read || with_options {
            text.line("allowed_methods", list(methods));
        }
    }
    let cached = node.get("CachedMethods");
    if cached.strings().contains(&"OPTIONS") && with_options {
        text.line("cached_methods", list(READ));
        cached.differs("`cached_methods`: responses to CORS preflights are cached, responses to other OPTIONS requests are not");
    }
}

fn compress(text: &mut Text, node: &Node<'_>) {
    let flag = node.get("Compress");
    if flag.flag() {
        text.line("compress", true);
        flag.is_exact("compress");
    }
}

/// Writes the trusted key groups. A missing group is still named, so the file is rejected: a missing document must
/// never make content public.
fn trusted(job: &Job<'_>, text: &mut Text, node: &Node<'_>) {
    let signers = node.get("TrustedSigners");
    let groups = node.get("TrustedKeyGroups");
    let mut names = Vec::new();
    let listed = groups.items();
    let is_strange = groups.is_said() && !groups.get("Enabled").is_there();
    if groups.get("Enabled").may_be_true() || is_strange || !listed.is_empty() {
        for group in &listed {
            let id = group.text().unwrap_or_default();
            names.push(key_group(job, group, id));
        }
        if names.is_empty() {
            job.ledger
                .to_do("add key groups to the behavior that requires signatures but lists none");
            groups.is_dropped(
                "no key group is listed; without one, the behavior rejects all requests",
            );
            names.push("nobody".into());
        }
    }
    let is_strange = signers.is_said() && !signers.get("Enabled").is_there();
    if signers.get("Enabled").may_be_true() || is_strange || !signers.items().is_empty() {
        names.push(trusted_signers(job, &signers));
    }
    if !names.is_empty() {
        text.line("trusted_key_groups", list(names.iter().map(String::as_str)));
    }
}

/// The name of the key group for trusted accounts. Behaviors that trust other accounts get another group, and so do
/// distributions that trust their own accounts.
fn trusted_signers(job: &Job<'_>, signers: &Node<'_>) -> String {
    let mut accounts = signers.strings();
    accounts.sort_unstable();
    accounts.dedup();
    let owner = job.distribution();
    let named = accounts.iter().map(|account| if *account == "self" { &*owner } else { *account });
    let name = format!("trusted-signers-{}", named.collect::<Vec<_>>().join("-"));
    let name = name.trim_end_matches('-').to_owned();
    job.ledger.to_do(format!(
        "add a `[[key_group]]` named `{name}` with the public keys of the CloudFront key pairs of these accounts: {}",
        accounts.join(", ")
    ));
    signers.differs(format!(
        "key group `{name}`: CloudFront's API does not return the keys of accounts"
    ));
    name
}

/// The name of a key group, which is written with its keys.
fn key_group(job: &Job<'_>, node: &Node<'_>, id: &str) -> String {
    let Some(config) = job.parts.key_groups.get(id) else {
        job.ledger.to_do(format!(
            "run `aws cloudfront get-key-group --id {id} > key-group-{id}.json` and import that file too"
        ));
        node.is_dropped("its document is missing; without it, the behavior rejects all requests");
        return id.to_owned();
    };
    node.is_exact("trusted_key_groups");
    let root = job.ledger.root(&format!("key-group {id}: "), config);
    let name = root.get("Name").text_or(id).to_owned();
    job.add_policy(id, || {
        let mut group = Text::default();
        root.get("Comment").text().into_iter().for_each(|comment| group.comment(comment));
        group.push("[[key_group]]");
        group.line("name", quote(&name));
        group.push("[key_group.public_keys]");
        for key_id in root.items() {
            public_key(job, &mut group, &key_id);
        }
        job.ledger.tell_unread(&root);
        group
    });
    name
}

fn public_key(job: &Job<'_>, group: &mut Text, node: &Node<'_>) {
    let id = node.text().unwrap_or_default();
    let Some(config) = job.parts.public_keys.get(id) else {
        job.ledger.to_do(format!(
            "run `aws cloudfront get-public-key --id {id} > public-key-{id}.json` and import that file too"
        ));
        return node
            .is_dropped("its document is missing; requests signed with this key are rejected");
    };
    let pem = config.get("EncodedKey").and_then(serde_json::Value::as_str).unwrap_or_default();
    group.line(&key(id), format!("\"\"\"\n{}\n\"\"\"", pem.trim().replace(['\\', '"'], "")));
    node.is_exact("public_keys");
}

/// Reports features that only CloudFront has.
fn not_here(node: &Node<'_>) {
    node.get("GrpcConfig").get("Enabled").flag();
    node.drop_each([
        ("SmoothStreaming", "Microsoft Smooth Streaming is not supported"),
        ("FieldLevelEncryptionId", "field-level encryption is not supported"),
        ("RealtimeLogConfigArn", "real-time logs are not supported; see [access_log]"),
        ("GrpcConfig", "gRPC is not supported"),
    ]);
}
