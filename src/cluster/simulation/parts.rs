//! The stream and the disks of a simulated cluster.

use std::collections::BTreeMap;

use crate::cluster::{
    log_name::LogName,
    message::Heartbeat,
    stream_state::{Reset, StreamState},
};

#[derive(Clone, Debug)]
pub(super) enum Message {
    Purge { object: u64 },
    Everything { number: u64 },
    Heartbeat(Heartbeat),
}

impl Message {
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Purge { object } => format!("purge.{object}"),
            Self::Everything { .. } => "purge.everything".to_owned(),
            Self::Heartbeat(heartbeat) => format!("hb.{:?}", heartbeat.member),
        }
    }
}

/// The stream, which keeps the newest message of each subject.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) created: u64,
    pub(super) messages: BTreeMap<u64, Message>,
    pub(super) last: u64,
}

impl Stream {
    pub(super) fn append(&mut self, message: Message) -> u64 {
        let subject = message.subject();
        self.messages.retain(|_, older| older.subject() != subject);
        self.last += 1;
        self.messages.insert(self.last, message);
        self.last
    }

    pub(super) fn reset(&self) -> Option<Reset> {
        self.messages.iter().find_map(|(&sequence, message)| match message {
            Message::Everything { number } => Some(Reset { sequence, number: *number }),
            _ => None,
        })
    }

    pub(super) fn state(&self) -> StreamState {
        StreamState {
            name: format!("stream {}", self.created),
            first: self.messages.keys().next().copied().unwrap_or(self.last + 1),
            last: self.last,
            is_full: false,
        }
    }
}

/// A position: the part of the log before it, and the number in the log.
pub(super) type Position = (u64, u64);

/// What a node keeps when its process ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) stored: BTreeMap<u64, (u64, Position)>,
    pub(super) floors: BTreeMap<u64, Position>,
    /// The name and beginning of the log.
    pub(super) log: Option<(LogName, Position)>,
    pub(super) newest: Position,
}

impl Disk {
    pub(super) fn purge(&mut self, object: u64, sequence: u64) {
        self.newest = (self.newest.0, sequence);
        self.floors.insert(object, self.newest);
    }

    pub(super) fn new_log(&mut self, name: LogName, position: Position) {
        self.log = Some((name, position));
        self.newest = position;
    }

    pub(super) fn find(&self, object: u64) -> Option<u64> {
        let (version, mark) = self.stored.get(&object)?;
        let floor = self.floors.get(&object).copied().unwrap_or_default();
        let beginning = self.log.as_ref().map_or((0, 0), |(_, beginning)| *beginning);
        (*mark >= floor && *mark >= beginning).then_some(*version)
    }
}
