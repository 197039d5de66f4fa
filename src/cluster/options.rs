//! The options of a cluster.

use std::path::PathBuf;

/// `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The name of the cluster.
    pub name: String,
    /// The name of this node, which no other one has.
    pub node: String,
    /// How to connect to NATS.
    pub nats: NatsOptions,
    /// The number of servers that have a copy of the stream when it is created.
    pub replicas: usize,
    /// Whether stored responses are served without validation while this node is cut off.
    pub serves_isolated: bool,
}

/// How to connect to NATS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatsOptions {
    /// URLs of servers: `nats://host:4222`, or `tls://host:4222`.
    pub servers: Vec<String>,
    /// A credentials file, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// Certificates of the authorities that sign the servers' certificates, in PEM.
    pub ca: Option<PathBuf>,
    /// A client certificate and its key, in PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}
