//! The messages of an upgrade, in the order in which they are sent.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::cache::store::{Invalidations, PurgeBatch, PurgeEntry, StoreIdentity};

/// The version of the messages. Processes of different versions do not replace each other.
pub(crate) const PROTOCOL: u32 = 1;

/// The first message, from the new process. All versions understand it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The version of the messages.
    pub(crate) protocol: u32,
    /// The version of the program.
    pub(crate) version: String,
    /// The kind of contents that it can take over from the memory of the other process, if any.
    pub(crate) contents: Option<String>,
    /// Bytes that it may have in memory.
    pub(crate) memory: u64,
}

/// A message. Some have bytes or file descriptors with them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// From the new process: its configuration is valid.
    Hello(Hello),
    /// From the old process: contents of its memory follow, if the identity is there. Also whether it can answer all
    /// requests.
    Contents { identity: Option<StoreIdentity>, is_ready: bool },
    /// A record. Its description and its body are with it.
    Record { kind: u8, digest: (u64, u64), description: usize },
    /// The last record was sent.
    EndOfContents,
    /// From the new process: it is prepared, and needs what only one process can have.
    Prepared,
    /// From the old process: a listening address. Its sockets are with it; another program keeps them open, too, or not.
    Listener { address: SocketAddr, is_kept: bool },
    /// From the old process, after the listeners: the purges in force, and the invalidations by unsafe requests.
    State {
        identity: StoreIdentity,
        purges: Vec<PurgeEntry>,
        invalidations: Vec<(String, Invalidations)>,
    },
    /// From the new process: it serves.
    Ready,
    /// From the new process: purges that the old one must apply, too.
    Purges(Vec<PurgeEntry>),
    /// From the old process: it has applied the purges.
    Applied,
    /// From the old process: a purge that an operator has sent to it.
    Purge { number: u64, batch: PurgeBatch },
    /// From the new process: the outcome of a purge of [`Self::Purge`].
    Purged { number: u64, outcome: Result<(), String> },
    /// From either process: an unsafe request has invalidated a path.
    Invalidation { distribution: String, path: String },
    /// From the new process: it cannot start, for this reason.
    Failed(String),
}
