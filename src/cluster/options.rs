//! The options of a cluster.

use std::{net::SocketAddr, path::PathBuf};

use rustls::pki_types::ServerName;

use crate::{base::instance, tls::MutualFiles};

/// `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The name of the cluster.
    pub name: String,
    /// The name of this node, which no other one has. `None` for the name of the machine.
    pub node: Option<String>,
    /// How to connect to NATS.
    pub nats: NatsOptions,
    /// The number of servers that have a copy of the stream when it is created.
    pub replicas: usize,
    /// Whether stored responses are served without validation while this node is cut off.
    pub serves_isolated: bool,
    /// The file with the keys that seal what nodes write into NATS.
    pub key_file: Option<PathBuf>,
    /// How this node fetches objects from other nodes, and serves them; `None` if it does not.
    pub peers: Option<PeerOptions>,
}

/// How nodes fetch objects from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOptions {
    /// Where other nodes connect to.
    pub listen: SocketAddr,
    /// Host and port at which other nodes reach this one; by default, those of `listen`.
    pub address: Option<String>,
    /// The files by which nodes recognize each other.
    pub files: MutualFiles,
    /// This node's share of the objects, relative to other nodes.
    pub weight: u32,
}

impl PeerOptions {
    /// Host and port at which other nodes reach this one.
    pub(super) fn address(&self, node: &str) -> String {
        let of_listen = || match self.listen.ip() {
            ip if ip.is_unspecified() => format!("{node}:{}", self.listen.port()),
            _ => self.listen.to_string(),
        };
        self.address.clone().unwrap_or_else(of_listen)
    }
}

impl ClusterOptions {
    /// The longest name, in characters.
    pub(crate) const LONGEST_NAME: usize = 32;

    /// The name of this node.
    pub(crate) fn node(&self) -> String {
        self.node.clone().unwrap_or_else(Self::machine)
    }

    /// The name of a node without a configured one: that of the machine.
    pub(crate) fn machine() -> String {
        let letters = instance::machine().chars().take(Self::LONGEST_NAME).collect::<Vec<_>>();
        letters.into_iter().map(|c| if Self::is_in_name(c) { c } else { '-' }).collect()
    }

    /// Whether the name of the machine is longer than that of a node may be.
    pub(crate) fn machine_is_cut() -> bool {
        instance::machine().chars().count() > Self::LONGEST_NAME
    }

    /// Whether a certificate can have the name of a node.
    pub(crate) fn is_certifiable(node: &str) -> bool {
        ServerName::try_from(node).is_ok_and(|name| matches!(name, ServerName::DnsName(_)))
    }

    /// Whether a name may have this character. Names become parts of NATS subjects.
    pub(crate) const fn is_in_name(c: char) -> bool {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
    }
}

/// The host name up to the first dot.
/// How to connect to NATS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatsOptions {
    /// URLs of servers: `nats://host:4222`, or `tls://host:4222`.
    pub servers: Vec<String>,
    /// A user, and the file with its password.
    pub user: Option<(String, PathBuf)>,
    /// A credentials file, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// Certificates of the authorities that sign the servers' certificates, in PEM.
    pub ca: Option<PathBuf>,
    /// A client certificate and its key, in PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}
