//! The protocol of a cluster, without a network and without a clock.
//!
//! All nodes consume the same stream, in its order. Heartbeats are in it, too: when a node consumes its own heartbeat, and
//! no message before it is missing, it has applied every purge before it. It gets a lease that runs from the time when it
//! sent the heartbeat. A purge is complete once each node has applied it or has no lease any more. A node without a lease
//! validates what it has stored.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    digest::LogDigest,
    message::{Heartbeat, MemberId},
};
use crate::base::clock::BootTime;

/// How long a lease lasts.
pub(super) const LEASE: Duration = Duration::from_secs(20);

/// How long others wait for the end of a lease, counted from when they received the heartbeat: their clocks may be
/// faster by 2 %.
pub(super) const PATIENCE: Duration = LEASE.saturating_add(Duration::from_millis(400));

/// Members are forgotten after this time without a heartbeat.
const FORGOTTEN: Duration = Duration::from_hours(1);

/// Heartbeats under way whose time of sending is remembered.
const UNDER_WAY: usize = 16;

/// A member other than this process, as its last heartbeats said.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// All messages up to this one: at this one, its digest was the same as that of this process.
    pub(super) applied: u64,
    pub(super) received: BootTime,
    pub(super) configuration: String,
}

impl Member {
    /// Whether it may still have a lease.
    pub(super) fn may_have_lease(&self, now: BootTime) -> bool {
        now.since(self.received) <= PATIENCE
    }
}

/// The state of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamState {
    /// The identity of the stream: another one was created later.
    pub(super) name: String,
    pub(super) first: u64,
    pub(super) last: u64,
    /// Whether old messages are discarded.
    pub(super) is_full: bool,
    /// Whether there may be nodes that still have a lease of an earlier stream.
    pub(super) is_young: bool,
}

/// The reason why purges may be missing, so that nothing older may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Loss {
    #[error("this node has not been in this cluster before")]
    New,
    #[error("the stream was created again")]
    Recreated,
    #[error("the stream has lost its last messages")]
    Truncated,
    #[error("the stream is full, and discarded messages that this node had not read")]
    Discarded,
    #[error("node `{0}` has seen other purges than this one: the stream has lost some")]
    Diverged(String),
}

impl Loss {
    /// Whether other nodes may have what a lost purge removed.
    pub(super) const fn concerns_all(&self) -> bool {
        matches!(self, Self::Truncated | Self::Diverged(_))
    }
}

/// A node's part in the protocol.
#[derive(Debug)]
pub(super) struct Protocol {
    pub(super) me: MemberId,
    configuration: String,
    stream: Option<String>,
    /// Counts how often this node has started over.
    era: u64,
    digest: LogDigest,
    /// All messages up to this one are applied.
    applied: u64,
    members: BTreeMap<MemberId, Member>,
    /// Heartbeats that were sent and not consumed yet.
    under_way: VecDeque<(u64, BootTime)>,
    sent: u64,
    /// The purges that the last own heartbeat in the stream vouches for.
    confirmed: u64,
    lease: Option<BootTime>,
    /// Whether this node must compare its purges with another one's before it gets a lease: it was away, and the stream
    /// may have lost what it missed.
    is_unverified: bool,
    /// The lease that it gets then, and the own heartbeat that another node must have applied.
    candidate: Option<(u64, BootTime)>,
    /// Until then, nodes that this one does not know may have a lease.
    strangers_until: BootTime,
    is_due: bool,
    /// Another process of the same node that joined after this one.
    successor: Option<u64>,
}

impl Protocol {
    pub(super) fn new(me: MemberId, configuration: String) -> Self {
        Self {
            me,
            configuration,
            stream: None,
            era: 0,
            digest: LogDigest::default(),
            applied: 0,
            members: BTreeMap::new(),
            under_way: VecDeque::new(),
            sent: 0,
            confirmed: 0,
            lease: None,
            is_unverified: false,
            candidate: None,
            strangers_until: BootTime::default(),
            is_due: false,
            successor: None,
        }
    }

    /// Begins with a stream whose name and last applied message the node's own journal has, if any.
    ///
    /// # Errors
    /// If purges may be missing. Then everything stored must go, and [`Self::start_over`] follows.
    pub(super) fn resume(
        &mut self,
        known: Option<(&str, u64)>,
        stream: &StreamState,
    ) -> Result<(), Loss> {
        let (name, applied) = known.ok_or(Loss::New)?;
        self.stream = Some(name.to_owned());
        self.applied = applied;
        self.check(stream, applied)?;
        self.is_unverified = true;
        Ok(())
    }

    /// Begins with a stream after everything that was stored has become unusable. If the loss concerns all nodes, the
    /// stream has a purge of everything by now: this node forgets which purges were lost.
    pub(super) fn start_over(&mut self, stream: &StreamState, now: BootTime) {
        let fresh = Self::new(self.me.clone(), std::mem::take(&mut self.configuration));
        // Others may not know yet, and use what they have stored.
        let mut members = std::mem::take(&mut self.members);
        for member in members.values_mut() {
            member.applied = 0;
        }
        *self = Self {
            stream: Some(stream.name.clone()),
            era: self.era + 1,
            applied: stream.last,
            members,
            sent: self.sent,
            strangers_until: if stream.is_young { now + PATIENCE } else { self.strangers_until },
            successor: self.successor,
            ..fresh
        };
    }

    /// Checks the state of the stream, which must have the messages up to `known`: those that were applied when it was
    /// requested.
    ///
    /// # Errors
    /// If purges may be missing.
    pub(super) fn check(&self, stream: &StreamState, known: u64) -> Result<(), Loss> {
        if self.stream.as_ref() != Some(&stream.name) {
            Err(Loss::Recreated)
        } else if stream.last < known {
            Err(Loss::Truncated)
        } else if stream.is_full && stream.first > self.applied + 1 {
            Err(Loss::Discarded)
        } else {
            Ok(())
        }
    }

    /// Whether the purge in a message is still to be applied.
    pub(super) const fn is_new(&self, sequence: u64) -> bool {
        sequence > self.applied
    }

    /// Consumes a purge, which the node has applied. `pending` is how many messages follow.
    pub(super) fn consume_purge(&mut self, sequence: u64, pending: u64, subject: &str) {
        self.is_due |= self.is_new(sequence);
        self.consume(sequence, pending, Some(subject));
    }

    /// Consumes a message that is neither a purge nor a heartbeat of this version.
    pub(super) fn consume_unknown(&mut self, sequence: u64, pending: u64) {
        self.consume(sequence, pending, None);
    }

    fn consume(&mut self, sequence: u64, pending: u64, subject: Option<&str>) {
        self.digest.add(sequence, pending, subject);
        self.applied = self.applied.max(sequence);
    }

    /// Consumes a heartbeat.
    ///
    /// # Errors
    /// If it shows that purges are missing.
    pub(super) fn consume_heartbeat(
        &mut self,
        sequence: u64,
        pending: u64,
        heartbeat: Heartbeat,
        now: BootTime,
    ) -> Result<(), Loss> {
        self.consume(sequence, pending, None);
        if heartbeat.member == self.me {
            self.consume_own(sequence, &heartbeat, now);
            return Ok(());
        }
        let Heartbeat { member, applied, digest, asks, configuration, .. } = heartbeat;
        let is_known = self.members.contains_key(&member);
        if member.node == self.me.node && self.confirmed > 0 && !is_known {
            self.successor = Some(member.process);
        }
        let own_digest = self.digest.after(applied);
        let agrees = digest.zip(own_digest).map(|(theirs, own)| theirs == own);
        if agrees == Some(false) {
            return Err(Loss::Diverged(member.node));
        }
        self.is_due |= asks;
        let unknown = Member { applied: 0, received: now, configuration: String::new() };
        let seen = self.members.entry(member).or_insert(unknown);
        (seen.received, seen.configuration) = (now, configuration);
        if agrees == Some(true) {
            seen.applied = seen.applied.max(applied);
            if let Some((_, lease)) = self.candidate.take_if(|(own, _)| *own <= applied) {
                self.is_unverified = false;
                self.lease = self.lease.max(Some(lease));
            }
        }
        self.members.retain(|_, member| now.since(member.received) < FORGOTTEN);
        Ok(())
    }

    fn consume_own(&mut self, sequence: u64, heartbeat: &Heartbeat, now: BootTime) {
        let sent = self.under_way.iter().find(|(number, _)| *number == heartbeat.number);
        let Some(&(number, at)) = sent else { return };
        self.under_way.retain(|(other, _)| *other > number);
        self.confirmed = self.confirmed.max(heartbeat.applied);
        // A purge before this heartbeat may have been replaced by one that is still to come.
        if self.digest.current().is_none() {
            return;
        }
        let lease = at + LEASE;
        let has_lapsed = self.lease.is_some_and(|until| until <= now);
        let has_others = self.members.values().any(|member| member.may_have_lease(now));
        self.is_unverified = (self.is_unverified || has_lapsed) && has_others;
        if self.is_unverified {
            self.candidate = Some((sequence, lease));
            self.is_due = true;
        } else {
            self.lease = self.lease.max(Some(lease));
        }
    }

    /// A heartbeat to send now.
    pub(super) fn heartbeat(&mut self, now: BootTime) -> Heartbeat {
        self.sent += 1;
        let digest = self.digest.current();
        // Without a digest it says little.
        self.is_due = digest.is_none();
        if self.under_way.len() == UNDER_WAY {
            self.under_way.pop_front();
        }
        self.under_way.push_back((self.sent, now));
        Heartbeat {
            member: self.me.clone(),
            number: self.sent,
            applied: self.applied,
            digest,
            asks: self.is_unverified,
            configuration: self.configuration.clone(),
        }
    }

    /// Whether others wait for a heartbeat.
    pub(super) const fn is_due(&self) -> bool {
        self.is_due
    }

    /// Until when what is stored may be used.
    pub(super) const fn lease(&self) -> Option<BootTime> {
        self.lease
    }

    /// Whether no node can use anything that the purges up to a message removed: each has applied them, or has no lease
    /// any more. [`Self::has`] must have said that this node has applied the purge in that message.
    pub(super) fn is_complete(&self, sequence: u64, now: BootTime) -> bool {
        self.confirmed >= sequence
            && now >= self.strangers_until
            && self
                .members
                .values()
                .all(|member| member.applied >= sequence || !member.may_have_lease(now))
    }

    /// How many messages were consumed since the beginning or the last loss.
    pub(super) const fn count(&self) -> u64 {
        self.digest.count()
    }

    /// Whether this node has applied the purge in a message, or a newer one of its subject, since `count` messages were
    /// consumed: before the message was written. If not, although it has consumed what follows, the stream has lost some.
    pub(super) fn has(&self, subject: &str, sequence: u64, count: u64) -> bool {
        self.digest.has(subject, sequence, count)
    }

    /// How often this node has started over: sequence numbers of two eras may belong to different streams.
    pub(super) const fn era(&self) -> u64 {
        self.era
    }

    /// The name of the stream, once it is known.
    pub(super) fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }

    /// The last message that was consumed since the beginning or the last loss.
    pub(super) const fn consumed(&self) -> u64 {
        self.digest.consumed()
    }

    pub(super) fn set_configuration(&mut self, configuration: String) {
        self.configuration = configuration;
    }

    pub(super) fn configuration(&self) -> &str {
        &self.configuration
    }

    pub(super) const fn applied(&self) -> u64 {
        self.applied
    }

    pub(super) const fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    /// Another process with the name of this node, which joined later.
    pub(super) const fn successor(&self) -> Option<u64> {
        self.successor
    }
}
