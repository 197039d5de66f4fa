//! The digest of the purges that a node has seen, by which nodes find out that the stream has lost some.

use std::collections::{HashMap, VecDeque};

use crate::base::sha256;

/// How many messages back the digest is known.
const REMEMBERED: usize = 4096;

/// How many subjects are remembered.
const SUBJECTS: usize = 1_000_000;

/// The sum over all purge subjects, each with the sequence number of its newest message.
///
/// The stream keeps only the newest message of a subject. A node that is behind misses messages that newer ones have
/// replaced: there are gaps between the numbers that it consumes. Its sum differs from that of a node that saw them, until
/// it has consumed everything that was in the stream when it saw the last gap.
#[derive(Debug, Default)]
pub(super) struct LogDigest {
    /// The newest message of each subject, and how many were consumed before it. The keys are digests of the subjects.
    newest: HashMap<u64, (u64, u64)>,
    /// How many messages were consumed.
    count: u64,
    sum: u64,
    /// The last message.
    consumed: u64,
    /// Whether no message is missing that was replaced by one that is still to come.
    is_complete: bool,
    /// Sums after the last messages.
    history: VecDeque<(u64, u64)>,
}

impl LogDigest {
    /// Adds a message: a purge has a subject. Returns whether messages before it are missing.
    pub(super) fn add(&mut self, sequence: u64, subject: Option<&str>) -> bool {
        if let Some(subject) = subject {
            let subject = sha256::first_64(subject);
            if self.newest.len() >= SUBJECTS {
                // A full stream: sums are not compared any more.
                self.newest.clear();
            }
            let older = self.newest.insert(subject, (sequence, self.count));
            self.sum = self.sum.wrapping_add(weight(subject, sequence));
            self.sum = self.sum.wrapping_sub(older.map_or(0, |(older, _)| weight(subject, older)));
        }
        self.count += 1;
        let is_gap = sequence != self.consumed + 1;
        self.consumed = sequence;
        self.is_complete &= !is_gap;
        self.remember();
        is_gap
    }

    /// Everything was consumed that replaced missing messages.
    pub(super) fn complete(&mut self) {
        self.is_complete = true;
        self.remember();
    }

    fn remember(&mut self) {
        let is_known = self.history.back().is_some_and(|(last, _)| *last == self.consumed);
        if self.is_complete && !is_known {
            if self.history.len() == REMEMBERED {
                self.history.pop_front();
            }
            self.history.push_back((self.consumed, self.sum));
        }
    }

    /// The last message.
    pub(super) const fn consumed(&self) -> u64 {
        self.consumed
    }

    /// How many messages were consumed.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether a message of a subject, or a newer one, was consumed since `count` messages had been. A stream that has lost
    /// messages uses their numbers again.
    pub(super) fn has(&self, subject: &str, sequence: u64, count: u64) -> bool {
        let subject = sha256::first_64(subject);
        let newest = self.newest.get(&subject);
        newest.is_some_and(|(newest, before)| *newest >= sequence && *before >= count)
    }

    /// The digest now, unless messages are missing.
    pub(super) fn current(&self) -> Option<u64> {
        self.is_complete.then_some(self.sum)
    }

    /// The digest after a message, if it is known.
    pub(super) fn after(&self, sequence: u64) -> Option<u64> {
        let at = self.history.binary_search_by_key(&sequence, |(sequence, _)| *sequence).ok()?;
        Some(self.history[at].1)
    }
}

/// The part of a sum that a message is.
fn weight(subject: u64, sequence: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&subject.to_le_bytes());
    bytes[8..].copy_from_slice(&sequence.to_le_bytes());
    sha256::first_64(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that keeps the newest message of each subject.
    #[derive(Default)]
    struct Stream(Vec<Option<&'static str>>);

    impl Stream {
        fn kept(&self, sequence: usize) -> bool {
            !self.0[sequence..].contains(&self.0[sequence - 1])
        }

        /// Delivers what is left of the messages after `from`.
        fn deliver(&self, from: usize, digest: &mut LogDigest) {
            for sequence in (from + 1..=self.0.len()).filter(|&n| self.kept(n)) {
                digest.add(sequence as u64, self.0[sequence - 1]);
            }
            digest.complete();
        }
    }

    #[test]
    fn one_who_replays_agrees_with_one_who_listened() {
        let mut stream = Stream::default();
        let mut listener = LogDigest::default();
        for subject in ["a", "b", "a", "c", "b", "b", "a"] {
            stream.0.push(Some(subject));
            stream.deliver(stream.0.len() - 1, &mut listener);
        }
        let mut replayer = LogDigest::default();
        stream.deliver(0, &mut replayer);
        assert!(replayer.current().is_some());
        assert_eq!(replayer.current(), listener.current());
        assert_eq!(replayer.after(7), listener.after(7));
        assert_eq!(replayer.after(4), None, "it did not know whether something was missing");
    }

    #[test]
    fn a_lost_message_shows() {
        let mut lost = LogDigest::default();
        let mut kept = LogDigest::default();
        kept.add(1, Some("a"));
        for digest in [&mut lost, &mut kept] {
            digest.add(2, Some("b"));
            digest.complete();
            digest.add(3, None);
        }
        assert!(lost.after(3).is_some() && lost.after(3) != kept.after(3));
    }
}
