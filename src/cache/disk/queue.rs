//! Records on their way to the writer.

use std::{collections::VecDeque, time::Duration};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{Located, index::Operation, record::Record};
use crate::cache::digest::Digest;

/// Commands that may wait. More means that the disk hangs.
const MAX_COMMANDS: usize = 1 << 20;

/// Work for the writer.
#[derive(Debug)]
pub(super) enum Command {
    /// Write a record. `replaces` is whether an older one may be on disk.
    Write { record: Record, operation: Operation, replaces: bool },
    /// Write that older records of a digest no longer count.
    Forget { digest: Digest, operation: Operation },
    /// Write a newer form of a record, if that is current.
    Renew { record: Record, older: Located },
    /// Write a record that is not in the index.
    Note(Record),
    /// Remove the oldest segment, then answer whether there was one.
    MakeSpace(oneshot::Sender<bool>),
    /// Write everything so far, then answer.
    Flush(oneshot::Sender<()>),
    /// Write everything so far and answer, then wait for the number of the next segment.
    Pause(oneshot::Sender<()>, oneshot::Receiver<u64>),
}

impl Command {
    /// Bytes of its record.
    fn length(&self) -> usize {
        match self {
            Self::Write { record, .. } | Self::Renew { record, .. } | Self::Note(record) => {
                record.length()
            }
            Self::Forget { .. } | Self::MakeSpace(_) | Self::Flush(_) | Self::Pause(..) => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    commands: VecDeque<Command>,
    /// Bytes of the records.
    bytes: usize,
    is_closed: bool,
}

/// A queue of limited size. Senders never wait.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    bound: usize,
}

impl Queue {
    /// A queue for `bound` bytes of records.
    pub(super) fn new(bound: usize) -> Self {
        Self { waiting: Mutex::default(), arrived: Condvar::new(), bound }
    }

    /// Adds a command with a record, unless the queue is full or closed.
    pub(super) fn offer(&self, command: Command) -> bool {
        let mut waiting = self.waiting.lock();
        let length = command.length();
        if waiting.is_closed
            || waiting.bytes + length > self.bound
            || waiting.commands.len() >= MAX_COMMANDS
        {
            return false;
        }
        waiting.bytes += length;
        waiting.commands.push_back(command);
        self.arrived.notify_one();
        true
    }

    /// Adds a small command, however full the queue is: each forgets a record that was on disk, or answers an
    /// operator. False if the queue is closed, or the disk hangs.
    pub(super) fn add(&self, command: Command) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.is_closed || waiting.commands.len() >= MAX_COMMANDS {
            return false;
        }
        waiting.commands.push_back(command);
        self.arrived.notify_one();
        true
    }

    /// Bytes of the records that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.waiting.lock().bytes as u64
    }

    /// Lets the writer finish what is waiting, and end.
    pub(super) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.arrived.notify_one();
    }

    /// Drops what is waiting: the next process writes to the disk now.
    pub(super) fn discard(&self) {
        let mut waiting = self.waiting.lock();
        waiting.commands.clear();
        waiting.bytes = 0;
    }

    /// Whether nothing more is written.
    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().is_closed
    }

    /// The next command. `Err` if none arrives in time, or none will: then true.
    pub(super) fn next(&self, patience: Option<Duration>) -> Result<Command, bool> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(command) = waiting.commands.pop_front() {
                waiting.bytes -= command.length();
                return Ok(command);
            }
            if waiting.is_closed {
                return Err(true);
            }
            match patience {
                Some(patience) => {
                    if self.arrived.wait_for(&mut waiting, patience).timed_out() {
                        return Err(false);
                    }
                }
                None => self.arrived.wait(&mut waiting),
            }
        }
    }
}
