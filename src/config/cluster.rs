//! `[cluster]`.

use std::path::Path;

use http::uri::Authority;

use super::{
    listen::listen_address,
    section::{Placed, Section},
};
use crate::{
    cluster::{ClusterOptions, NatsOptions, PeerOptions},
    tls::{CertificateFiles, MutualFiles},
};

/// `[cluster]`.
pub(super) fn cluster(root: &Section<'_>, directory: &Path) -> Option<ClusterOptions> {
    let section = root.table("cluster")?;
    let name = section.required("name", "give the cluster a name: `name = \"media\"`");
    let node = section.string("node");
    for name in name.iter().chain(&node) {
        check_name(&section, name);
    }
    let replicas = section.number("replicas", 1..6).unwrap_or(DEFAULT_REPLICAS);
    let serves_isolated = section.string("when_isolated").map(|mode| match mode.value {
        "validate" => false,
        "serve" => true,
        other => {
            let message = format!("`cluster.when_isolated` cannot be `{other}`");
            let help = "use \"validate\", which validates each stored response with the origin, or \"serve\", which serves what may have been purged".to_owned();
            section.fault(mode.span, message, "not known", help);
            false
        }
    });
    let nats = section.table("nats").map(|section| nats(&section, directory));
    if !section.has("nats") {
        let help = "add `[cluster.nats]` with `servers = [\"nats://nats-1:4222\", …]`".to_owned();
        section.fault(section.span(), "`cluster.nats` is missing", "in this table", help);
    }
    if node.is_none() && ClusterOptions::machine_is_cut() {
        let help = "set `node` in `[cluster]`".to_owned();
        let longest = ClusterOptions::LONGEST_NAME;
        let message = format!(
            "the name of this machine is longer than {longest} characters, so it cannot be the node's"
        );
        section.fault(section.span(), message, "no `node` here", help);
    }
    let own_name = node.as_ref().map_or_else(ClusterOptions::machine, |node| node.value.to_owned());
    let peers = peers(&section, directory, &own_name);
    let key_file = section.string("key_file").map(|file| directory.join(file.value));
    section.unknown();
    Some(ClusterOptions {
        name: name?.value.to_owned(),
        node: node.map(|node| node.value.to_owned()),
        nats: nats?,
        replicas: usize::try_from(replicas).unwrap_or(1),
        serves_isolated: serves_isolated.unwrap_or(false),
        key_file,
        peers,
    })
}

/// The share of the objects that a node has, relative to others, if the configuration does not say it.
const DEFAULT_WEIGHT: u64 = 100;

/// How `node` fetches objects from others. All files are needed.
fn peers(section: &Section<'_>, directory: &Path, node: &str) -> Option<PeerOptions> {
    const KEYS: [&str; 4] = ["peer_listen", "peer_certificate", "peer_key", "peer_ca"];
    let weight = section.number("weight", 1..10_001).unwrap_or(DEFAULT_WEIGHT);
    // Replaces `{node}`, so that all nodes can have the same file.
    let own = |text: &Placed<&str>| {
        let own = text.value.replace("{node}", node);
        if own.contains(['{', '}']) {
            let message = format!("`{}` has an unknown placeholder", text.value);
            let help = "`{node}`, the name of the node, is the only one".to_owned();
            section.fault(text.span.clone(), message, "not known", help);
        }
        own
    };
    let address =
        section.string("peer_address").map(|text| Placed { value: own(&text), span: text.span });
    if let Some(address) = &address
        && !address.value.contains(['{', '}'])
        && Authority::try_from(&*address.value).ok().and_then(|a| a.port_u16()).is_none()
    {
        let message = format!("`{}` is not a host with a port", address.value);
        let help = "write the host and port at which other nodes reach this one, such as `\"cache-1.internal:8444\"`".to_owned();
        section.fault(address.span.clone(), message, "expected host and port", help);
    }
    let listen = section.string("peer_listen").map(|text| listen_address(section, text));
    let file = |key| Some(directory.join(own(&section.string(key)?)));
    let files = [file("peer_certificate"), file("peer_key"), file("peer_ca")];
    let missing: Vec<&str> = KEYS.into_iter().filter(|key| !section.has(key)).collect();
    if missing.len() == KEYS.len() {
        if section.has("weight") || address.is_some() {
            section.doubt(
                "`weight` and `peer_address` of `cluster` have no effect without `peer_listen`"
                    .into(),
            );
        }
        return None;
    }
    if !missing.is_empty() {
        let message = format!("peers need `{}` in `cluster`, too", missing.join("`, `"));
        let help = "`forebay cluster init` makes the certificates; `peer_listen = \"0.0.0.0:8444\"` is where other nodes connect to".to_owned();
        section.fault(section.span(), message, "in this table", help);
        return None;
    }
    if !ClusterOptions::is_certifiable(node) {
        let message = format!("a certificate cannot have the name of this node, `{node}`");
        let help = "set `cluster.node` to a name that begins with a letter and ends with a letter or digit".to_owned();
        section.fault(section.span(), message, "in this table", help);
    }
    let [certificate, key, ca] = files;
    Some(PeerOptions {
        listen: listen??,
        address: address.map(|address| address.value),
        files: MutualFiles {
            own: CertificateFiles { certificate: certificate?, key: key? },
            ca: ca?,
        },
        weight: u32::try_from(weight).unwrap_or(1),
    })
}

/// Copies of the stream, if the configuration does not say how many.
const DEFAULT_REPLICAS: u64 = 3;

fn check_name(section: &Section<'_>, name: &Placed<&str>) {
    let (text, longest) = (name.value, ClusterOptions::LONGEST_NAME);
    if !(1..=longest).contains(&text.len()) || !text.chars().all(ClusterOptions::is_in_name) {
        let message = format!("`{text}` cannot be a name in a cluster");
        let help = format!("use 1 to {longest} letters, digits, `-` and `_`");
        section.fault(name.span.clone(), message, "not a name", help);
    }
}

fn nats(section: &Section<'_>, directory: &Path) -> NatsOptions {
    let servers = section.strings("servers").unwrap_or_default();
    for server in &servers {
        let rest =
            ["nats://", "tls://"].iter().find_map(|scheme| server.value.strip_prefix(scheme));
        // A password must not get into a log.
        let message = if server.value.contains('@') {
            "a URL of a NATS server has a user".to_owned()
        } else if rest.is_none_or(|rest| !is_server(rest)) {
            format!("`{}` is not the URL of a NATS server", server.value)
        } else {
            continue;
        };
        let help = "use `nats://host:4222`, or `tls://host:4222` for TLS; name the user in `user` and `password_file`, or in `credentials_file`".to_owned();
        section.fault(server.span.clone(), message, "not a server", help);
    }
    if servers.is_empty() {
        let help = "name at least one: `servers = [\"nats://nats-1:4222\"]`".to_owned();
        section.fault(section.span(), "`cluster.nats.servers` is missing", "in this table", help);
    }
    let path = |key| section.string(key).map(|file| directory.join(file.value));
    let (credentials, ca) = (path("credentials_file"), path("ca_file"));
    let user = section.string("user").map(|user| user.value.to_owned());
    let user = pair(section, ("user", user), ("password_file", path("password_file")));
    let certificate = pair(section, ("certificate", path("certificate")), ("key", path("key")));
    if user.is_some() && credentials.is_some() {
        section.doubt(
            "`cluster.nats` has a user and `credentials_file`; NATS decides which one counts"
                .into(),
        );
    }
    section.unknown();
    let servers = servers.iter().map(|server| server.value.to_owned()).collect();
    NatsOptions { servers, user, credentials, ca, certificate }
}

/// Whether a text is a host, with a port or without.
fn is_server(text: &str) -> bool {
    Authority::try_from(text).is_ok_and(|authority| {
        let port = authority.port().map(|port| port.as_str().parse::<u16>());
        !authority.host().is_empty() && port.is_none_or(|port| port.is_ok())
    })
}

/// Two settings that are useless without each other.
fn pair<T, U>(
    section: &Section<'_>,
    (name, first): (&str, Option<T>),
    (other, second): (&str, Option<U>),
) -> Option<(T, U)> {
    if first.is_some() != second.is_some() {
        let message = format!("`{name}` and `{other}` of `cluster.nats` belong together");
        let help = "add the other one, or remove both".to_owned();
        section.fault(section.span(), message, "in this table", help);
    }
    first.zip(second)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const REST: &str = r#"
[listen]
http = "127.0.0.1:0"
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "origin"
url = "http://127.0.0.1:9"
signing = "never"
[distribution.default_behavior]
origin = "origin"
cache_policy = "CachingOptimized"
"#;

    fn compile(cluster: &str) -> Result<Config, Vec<String>> {
        let text = format!("{cluster}{REST}");
        let compiled = Config::compile("test.toml", &text, std::path::Path::new(""));
        compiled
            .map_err(|faults| faults.faults.iter().map(|fault| fault.message().into()).collect())
    }

    #[test]
    fn all_faults_are_found_at_once() {
        let text = r#"
[cluster]
name = "my media"
node = ""
when_isolated = "panic"
replicas = 6
[cluster.nats]
servers = ["nats-1:4222", "nats://user:secret@nats-1:4222"]
user = "forebay"
key = "key.pem"
"#;
        assert_eq!(
            compile(text).expect_err("faults"),
            [
                "`my media` cannot be a name in a cluster",
                "`` cannot be a name in a cluster",
                "`cluster.when_isolated` cannot be `panic`",
                "`cluster.replicas` is out of range",
                "`user` and `password_file` of `cluster.nats` belong together",
                "`certificate` and `key` of `cluster.nats` belong together",
                "`nats-1:4222` is not the URL of a NATS server",
                "a URL of a NATS server has a user",
            ]
        );
        let missing = compile("[cluster]\n").expect_err("faults");
        assert_eq!(missing, ["`cluster.name` is missing", "`cluster.nats` is missing"]);
    }

    #[test]
    fn peers_need_all_files() {
        let rest =
            "[cluster]\nname = \"c\"\nnode = \"a\"\nnats = { servers = [\"nats://n:4222\"] }\n";
        let faults = |more: &str| compile(&format!("{rest}{more}")).expect_err("faults");
        assert_eq!(
            faults(
                "peer_listen = \"0.0.0.0:8444\"\npeer_key = \"k\"\npeer_address = \"a\"\nweight = 0\n"
            ),
            [
                "peers need `peer_certificate`, `peer_ca` in `cluster`, too",
                "`a` is not a host with a port",
                "`cluster.weight` is out of range",
            ]
        );
        let files = "peer_certificate = \"{node}.pem\"\npeer_key = \"k\"\npeer_ca = \"ca\"\n";
        let bad = faults(&format!("peer_listen = \"8444\"\n{files}"));
        assert_eq!(bad, ["`8444` is not an address to listen on"]);
        let bad = faults(&format!(
            "peer_listen = \"0.0.0.0:8444\"\npeer_address = \"{{pod}}:1\"\n{files}"
        ));
        assert_eq!(bad, ["`{pod}:1` has an unknown placeholder"]);
        let own = "peer_listen = \"0.0.0.0:8444\"\npeer_address = \"{node}.nodes:8444\"\n";
        let good = compile(&format!("{rest}{own}{files}"));
        let peers = good.expect("no faults").cluster.and_then(|cluster| cluster.peers);
        let peers = peers.expect("peers");
        assert_eq!(peers.files.own.certificate, std::path::Path::new("a.pem"));
        assert_eq!(peers.address.as_deref(), Some("a.nodes:8444"));
    }

    /// Nodes differ in their addresses, not in what they serve.
    #[test]
    fn nodes_with_the_same_distributions_have_the_same_digest() {
        let one = compile("[cache]\nmemory = \"1GiB\"\n").expect("no faults");
        let two = compile("[cache]\nmemory = \"2GiB\"\n").expect("no faults");
        let other = compile("[cache]\nslice = \"2MiB\"\n").expect("no faults");
        assert_eq!(one.shared_digest(), two.shared_digest());
        assert_ne!(one.shared_digest(), other.shared_digest());
    }
}
