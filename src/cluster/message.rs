//! The messages in a cluster's stream.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{log_name::LogName, node_info::NodeInfo, seal::Seal};
use crate::{
    base::sha256,
    cache::store::{Purge, PurgeChange, PurgeMode, Tag},
};

/// The longest purge, in bytes.
const LONGEST: usize = 32 << 10;

/// A message of the stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    Purge(PurgeMessage),
    Heartbeat(Heartbeat),
}

/// A purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PurgeMessage {
    distribution: String,
    target: Target,
    soft: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    Path(String),
    Prefix(String),
    /// The number of a tag.
    Tag(u64),
    /// Everything, of all distributions, because the stream has lost purges. Each has a number of its own.
    Everything(u64),
}

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    pub(super) member: MemberId,
    /// Counts the heartbeats of this process.
    pub(super) number: u64,
    /// The node has applied all messages up to this one, and its purges are as durable as its disk.
    pub(super) applied: u64,
    /// The digest of all purges up to there, if the node is sure of it.
    pub(super) digest: Option<u64>,
    /// Whether it waits for the digest of another node, to compare with its own.
    #[serde(default)]
    pub(super) asks: bool,
    /// Whether it is the last one: the node serves nothing any more.
    #[serde(default)]
    pub(super) leaves: bool,
    #[serde(flatten)]
    pub(super) info: NodeInfo,
}

/// A process of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct MemberId {
    pub(super) node: String,
    /// Random for each process.
    pub(super) process: u64,
}

/// The subjects of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    prefix: String,
    seal: Seal,
}

impl Subjects {
    pub(super) fn of(cluster: &str, seal: Seal) -> Self {
        Self { prefix: format!("fb.{cluster}"), seal }
    }

    /// The content of a message of a subject. `None` if it cannot be sealed.
    pub(super) fn payload(&self, subject: &str, message: &impl Serialize) -> Option<Bytes> {
        let content = serde_json::to_vec(message).unwrap_or_default();
        self.seal.seal(subject, content).map(Bytes::from)
    }

    /// The subjects of all messages.
    pub(super) fn all(&self) -> Vec<String> {
        vec![format!("{}.purge.>", self.prefix), format!("{}.hb.>", self.prefix)]
    }

    /// Of the messages of a subject, the stream keeps the newest one. A soft purge does not replace a hard one.
    pub(super) fn of_purge(&self, message: &PurgeMessage) -> String {
        let (kind, target) = match &message.target {
            Target::Path(path) => ("path", path.clone()),
            Target::Prefix(path) => ("prefix", path.clone()),
            Target::Tag(number) => ("tag", number.to_string()),
            Target::Everything(_) => ("everything", String::new()),
        };
        let digest = sha256::first_128(format!("{}\n{target}", message.distribution));
        let mode = if message.soft { "soft" } else { "hard" };
        format!("{}.purge.{kind}.{mode}.{digest:032x}", self.prefix)
    }

    pub(super) fn of_heartbeat(&self, member: &MemberId) -> String {
        format!("{}.hb.{}.{:016x}", self.prefix, member.node, member.process)
    }

    /// Reads a message. `None` if it is none of this version.
    pub(super) fn read(&self, subject: &str, payload: &[u8]) -> Option<Message> {
        let rest = subject.strip_prefix(&*self.prefix)?;
        let content = self.seal.open(subject, payload);
        if rest.starts_with(".purge.") {
            let read = content.and_then(|content| serde_json::from_slice(&content).ok());
            let read = read.filter(|read| self.of_purge(read) == subject);
            let read = read.filter(|_| payload.len() <= LONGEST);
            // Whatever it removes must not be used.
            return Some(Message::Purge(read.unwrap_or_else(|| PurgeMessage::everything(0))));
        }
        let heartbeat: Heartbeat = serde_json::from_slice(&content?).ok()?;
        (self.of_heartbeat(&heartbeat.member) == subject).then_some(Message::Heartbeat(heartbeat))
    }
}

impl PurgeMessage {
    /// `None` if the change is no purge.
    pub(super) fn of(change: &PurgeChange) -> Option<Self> {
        let PurgeChange::Purge { distribution, purge, mode } = change else { return None };
        let target = match purge {
            Purge::Exact(path) => Target::Path(path.clone()),
            Purge::Prefix(path) => Target::Prefix(path.clone()),
            Purge::Tag(tag) => Target::Tag(tag.number()),
        };
        Some(Self {
            distribution: distribution.to_string(),
            target,
            soft: *mode == PurgeMode::Soft,
        })
    }

    /// A purge of everything.
    pub(super) fn everything(reset: u64) -> Self {
        let target = Target::Everything(reset);
        Self { distribution: String::new(), target, soft: false }
    }

    /// The number of a purge of everything.
    pub(super) const fn reset(&self) -> Option<u64> {
        match self.target {
            Target::Everything(reset) => Some(reset),
            _ => None,
        }
    }

    /// The change that it makes in a log.
    pub(super) fn change(&self, log: &LogName) -> PurgeChange {
        let purge = match &self.target {
            // A message that cannot be read has no number.
            Target::Everything(0) => return PurgeChange::NewLog { name: log.to_string().into() },
            Target::Everything(reset) => {
                let log = LogName { reset: *reset, ..log.clone() };
                return PurgeChange::NewLog { name: log.to_string().into() };
            }
            Target::Path(path) => Purge::Exact(path.clone()),
            Target::Prefix(path) => Purge::Prefix(path.clone()),
            Target::Tag(number) => Purge::Tag(Tag::from_number(*number)),
        };
        let mode = if self.soft { PurgeMode::Soft } else { PurgeMode::Hard };
        PurgeChange::Purge { distribution: self.distribution.as_str().into(), purge, mode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purges_arrive_as_they_were_sent() {
        let subjects = Subjects::of("media", Seal::default());
        let purges = [
            Purge::Exact("/a b/ü.png".into()),
            Purge::Prefix("/a b/ü.png".into()),
            Purge::Tag(Tag::new("sale")),
        ];
        let mut seen = std::collections::HashSet::new();
        for (purge, mode) in
            purges.iter().flat_map(|purge| [PurgeMode::Hard, PurgeMode::Soft].map(|m| (purge, m)))
        {
            let purge = purge.clone();
            let change = PurgeChange::Purge { distribution: "d".into(), purge, mode };
            let message = PurgeMessage::of(&change).expect("a purge");
            let subject = subjects.of_purge(&message);
            let payload = serde_json::to_vec(&message).expect("JSON");
            let read = subjects.read(&subject, &payload);
            assert_eq!(read, Some(Message::Purge(message.clone())));
            assert_eq!(message.change(&LogName::of("stream", None)), change);
            assert!(seen.insert(subject), "each has a subject of its own");
        }
    }

    #[test]
    fn other_messages_are_not_read() {
        let subjects = Subjects::of("media", Seal::default());
        let member = MemberId { node: "a".into(), process: 1 };
        let other = MemberId { node: "b".into(), process: 1 };
        let heartbeat = Heartbeat {
            member: member.clone(),
            number: 1,
            applied: 7,
            digest: Some(3),
            asks: false,
            leaves: false,
            info: NodeInfo::default(),
        };
        let payload = serde_json::to_vec(&heartbeat).expect("JSON");
        let read = |subject: &str, payload: &[u8]| subjects.read(subject, payload);
        let own = subjects.of_heartbeat(&member);
        assert_eq!(read(&own, &payload), Some(Message::Heartbeat(heartbeat)));
        assert_eq!(read(&subjects.of_heartbeat(&other), &payload), None, "it lies about its node");
        assert_eq!(read("fb.other.hb.a.0000000000000001", &payload), None);
        let unreadable = Message::Purge(PurgeMessage::everything(0));
        assert_eq!(read("fb.media.purge.path.hard.00", b"{}"), Some(unreadable));
    }
}
