//! The protocol of a cluster, without a network and without a clock.
//!
//! All nodes consume the same stream, in its order. Heartbeats are in it, too: when a node consumes its own heartbeat, and
//! no message before it is missing, it has applied every purge before it. It gets a lease that runs from the time when it
//! sent the heartbeat. A purge is complete once each node has applied it or has no lease any more. A node without a lease
//! validates what it has stored.

use std::{collections::BTreeMap, time::Duration};

use super::{
    digest::LogDigest,
    gap::Gap,
    lease::{LEASE, PATIENCE},
    log_name::LogName,
    loss::Loss,
    member::Member,
    message::{Heartbeat, MemberId},
    node_info::NodeInfo,
    own_heartbeats::OwnHeartbeats,
    stream_state::{Reset, StreamState},
};
use crate::base::clock::BootTime;

/// Members are forgotten after this time without a heartbeat.
const FORGOTTEN: Duration = Duration::from_hours(1);

/// A node's part in the protocol.
#[derive(Debug)]
pub(super) struct Protocol {
    pub(super) me: MemberId,
    info: NodeInfo,
    log: Option<LogName>,
    /// Whether the stream discards messages: then sums differ without a loss.
    is_full: bool,
    /// Counts how often this node has started over.
    era: u64,
    digest: LogDigest,
    /// Messages are missing; at the beginning, all.
    gap: Option<Gap>,
    /// All messages up to this one are applied.
    applied: u64,
    members: BTreeMap<MemberId, Member>,
    own: OwnHeartbeats,
    /// What the last own heartbeat in the stream says to be applied.
    confirmed: u64,
    lease: Option<BootTime>,
    /// Whether this node must compare its purges with another one's before it gets a lease: it was away, and the stream
    /// may have lost what it missed.
    is_unverified: bool,
    /// Since then. Others may not be connected again yet.
    unverified_since: BootTime,
    /// The lease that it gets then, and the own heartbeat that another node must have applied.
    candidate: Option<(u64, BootTime)>,
    /// Until then, nodes whose heartbeats are not in the stream any more may have a lease.
    others_until: BootTime,
    is_due: bool,
    /// Another process with the name of this node.
    namesake: Option<u64>,
}

impl Protocol {
    pub(super) fn new(me: MemberId, info: NodeInfo) -> Self {
        Self {
            me,
            info,
            log: None,
            is_full: false,
            era: 0,
            digest: LogDigest::default(),
            gap: Some(Gap { sent: 0, applied: 0 }),
            applied: 0,
            members: BTreeMap::new(),
            own: OwnHeartbeats::default(),
            confirmed: 0,
            lease: None,
            is_unverified: false,
            unverified_since: BootTime::default(),
            candidate: None,
            others_until: BootTime::default(),
            is_due: false,
            namesake: None,
        }
    }

    /// Begins with a stream. `known` is the log and its last applied message in the node's own journal, if any.
    ///
    /// # Errors
    /// If purges may be missing. Then everything stored must go, and [`Self::start_over`] follows.
    pub(super) fn resume(
        &mut self,
        known: Option<(LogName, u64)>,
        stream: &StreamState,
        reset: Option<Reset>,
        now: BootTime,
    ) -> Result<(), Loss> {
        let cluster = |name: &str| name.split(' ').next().map(str::to_owned);
        let known = known.filter(|(log, _)| cluster(&log.stream) == cluster(&stream.name));
        let (log, applied) = known.ok_or(Loss::New)?;
        self.log = Some(log);
        self.applied = applied;
        self.gap = Some(Gap { sent: self.own.sent(), applied });
        (self.is_unverified, self.unverified_since) = (true, now);
        self.others_until = now + PATIENCE;
        self.check(stream, applied)?;
        self.check_reset(reset)
    }

    /// Begins with a stream, whose log has this name, after everything that was stored has become unusable. If the loss
    /// concerns all nodes, the log names a purge of everything that is newer: this node forgets which purges were lost.
    pub(super) fn start_over(&mut self, log: LogName, stream: &StreamState, now: BootTime) {
        let fresh = Self::new(self.me.clone(), std::mem::take(&mut self.info));
        // Others may not know yet, and use what they have stored.
        let mut members = std::mem::take(&mut self.members);
        for member in members.values_mut() {
            member.applied = 0;
        }
        *self = Self {
            log: Some(log),
            is_full: stream.is_full,
            era: self.era + 1,
            gap: Some(Gap { sent: self.own.sent(), applied: stream.last }),
            applied: stream.last,
            members,
            own: self.own.start_over(),
            others_until: now + PATIENCE,
            namesake: self.namesake,
            ..fresh
        };
    }

    /// Ends the lease, because purges are missing.
    pub(super) const fn revoke(&mut self) {
        self.lease = None;
        self.candidate = None;
    }

    /// Checks the state of the stream, which must have the messages up to `known`: those that were applied when it was
    /// requested.
    ///
    /// # Errors
    /// If purges may be missing.
    pub(super) fn check(&mut self, stream: &StreamState, known: u64) -> Result<(), Loss> {
        self.is_full |= stream.is_full;
        if self.log.as_ref().map(|log| &log.stream) != Some(&stream.name) {
            Err(Loss::Recreated)
        } else if stream.last < known {
            Err(Loss::Truncated)
        } else if stream.is_full
            && stream.first > self.gap.map_or(self.applied, |gap| gap.applied) + 1
        {
            Err(Loss::Discarded)
        } else {
            Ok(())
        }
    }

    /// Checks the last purge of everything in the stream. If the stream has lost messages, it may have a number that this
    /// node has seen already.
    ///
    /// # Errors
    /// If this node has missed it.
    pub(super) fn check_reset(&self, reset: Option<Reset>) -> Result<(), Loss> {
        let own = self.log.as_ref().map(|log| log.reset);
        match reset {
            Some(reset) if Some(reset.number) != own && reset.sequence <= self.applied => {
                Err(Loss::Missed)
            }
            _ => Ok(()),
        }
    }

    /// Whether the purge in a message is still to be applied.
    pub(super) const fn is_new(&self, sequence: u64) -> bool {
        sequence > self.applied
    }

    /// Consumes a purge, which the node has applied. A purge of everything has a number.
    pub(super) fn consume_purge(&mut self, sequence: u64, subject: &str, reset: Option<u64>) {
        if self.is_new(sequence) {
            self.is_due = true;
            if let (Some(log), Some(reset @ 1..)) = (&mut self.log, reset) {
                log.reset = reset;
            }
        }
        self.consume(sequence, Some(subject));
    }

    /// Consumes a message that is neither a purge nor a heartbeat of this version.
    pub(super) fn consume_unknown(&mut self, sequence: u64, now: BootTime) {
        self.consume(sequence, None);
        // Its node may have a lease.
        self.others_until = now + PATIENCE;
    }

    fn consume(&mut self, sequence: u64, subject: Option<&str>) {
        if self.digest.add(sequence, subject) {
            self.gap = Some(Gap { sent: self.own.sent(), applied: self.applied });
            self.is_due = true;
        }
        self.applied = self.applied.max(sequence);
    }

    /// Consumes a heartbeat.
    ///
    /// # Errors
    /// If it shows that purges are missing.
    pub(super) fn consume_heartbeat(
        &mut self,
        sequence: u64,
        heartbeat: Heartbeat,
        now: BootTime,
    ) -> Result<(), Loss> {
        self.consume(sequence, None);
        if heartbeat.member == self.me {
            self.consume_own(sequence, &heartbeat, now);
            return Ok(());
        }
        let Heartbeat { member, applied, digest, asks, leaves, info, .. } = heartbeat;
        if leaves {
            self.members.remove(&member);
            return Ok(());
        }
        if member.node == self.me.node && self.confirmed > 0 {
            self.namesake = Some(member.process);
        }
        let own_digest = self.digest.after(applied);
        let agrees = digest.zip(own_digest).map(|(theirs, own)| theirs == own || self.is_full);
        if agrees == Some(false) {
            return Err(Loss::Diverged(member.node));
        }
        self.is_due |= asks;
        let unknown = Member {
            applied: 0,
            reported: 0,
            progressed: now,
            received: now,
            info: NodeInfo::default(),
            asks,
            is_heard: false,
        };
        let is_heard = self.members.contains_key(&member);
        let seen = self.members.entry(member).or_insert(unknown);
        (seen.is_heard, seen.asks) = (is_heard, asks);
        if applied > seen.reported {
            seen.progressed = now;
        }
        (seen.reported, seen.received, seen.info) = (applied, now, info);
        if agrees == Some(true) {
            seen.applied = seen.applied.max(applied);
            // Two that were away may have missed the same.
            let is_witness = !asks || now.since(self.unverified_since) > PATIENCE;
            if let Some((_, lease)) =
                self.candidate.take_if(|(own, _)| is_witness && *own <= applied)
            {
                self.is_unverified = false;
                self.lease = self.lease.max(Some(lease));
            }
        }
        self.members.retain(|_, member| now.since(member.received) < FORGOTTEN);
        Ok(())
    }

    fn consume_own(&mut self, sequence: u64, heartbeat: &Heartbeat, now: BootTime) {
        let Some(at) = self.own.consume(heartbeat.number) else { return };
        if self.gap.take_if(|gap| heartbeat.number > gap.sent).is_some() {
            // It was sent after the gap was seen, so it follows whatever replaced the missing messages.
            self.digest.complete();
            self.is_due = true;
        }
        if self.digest.current().is_none() {
            return;
        }
        self.confirmed = self.confirmed.max(heartbeat.applied);
        let lease = at + LEASE;
        if !self.is_unverified && self.lease.is_some_and(|until| until <= now) {
            (self.is_unverified, self.unverified_since) = (true, now);
        }
        let has_others = self.members.values().any(|member| member.is_up(now))
            || now.since(self.unverified_since) <= PATIENCE;
        self.is_unverified &= has_others;
        if self.is_unverified {
            // One at a time, or the answer to the last one always comes too late.
            if self.candidate.is_none_or(|(_, until)| until <= now) {
                self.candidate = Some((sequence, lease));
                self.is_due = true;
            }
        } else {
            self.lease = self.lease.max(Some(lease));
        }
    }

    /// A heartbeat to send now.
    pub(super) fn heartbeat(&mut self, now: BootTime) -> Heartbeat {
        self.is_due = false;
        let number = self.own.send(now);
        Heartbeat {
            member: self.me.clone(),
            number,
            applied: self.applied,
            digest: self.digest.current(),
            asks: self.is_unverified,
            leaves: false,
            info: self.info.clone(),
        }
    }

    /// Whether this node has consumed its own heartbeat with this number.
    pub(super) const fn has_own(&self, number: u64) -> bool {
        self.own.has(number)
    }

    /// Whether this node has consumed the stream up to a heartbeat of its own.
    pub(super) const fn has_joined(&self) -> bool {
        self.confirmed > 0
    }

    /// The last heartbeat. The lease has ended.
    pub(super) fn farewell(&mut self, now: BootTime) -> Heartbeat {
        self.revoke();
        Heartbeat { leaves: true, ..self.heartbeat(now) }
    }

    /// Whether this node waits for no other one to confirm its purges.
    pub(super) const fn is_verified(&self) -> bool {
        !self.is_unverified
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
    /// any more. This node has applied them since `applied_at`, and [`Self::has`] the purge in that message.
    pub(super) fn is_complete(&self, sequence: u64, applied_at: BootTime, now: BootTime) -> bool {
        let is_done = |member: &Member| member.applied >= sequence || !member.may_have_lease(now);
        self.confirmed >= sequence
            && now >= self.others_until
            // Every heartbeat before the purge was received by then. A later one gives a lease only to a node that has
            // applied the purge.
            && (now.since(applied_at) > PATIENCE || self.members.values().all(is_done))
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

    /// How often this node has started over. Sequence numbers may belong to different streams before and after that.
    pub(super) const fn era(&self) -> u64 {
        self.era
    }

    /// The log, once it is known.
    pub(super) const fn log(&self) -> Option<&LogName> {
        self.log.as_ref()
    }

    /// The last message that was consumed since the beginning or the last loss.
    pub(super) const fn consumed(&self) -> u64 {
        self.digest.consumed()
    }

    pub(super) const fn info_mut(&mut self) -> &mut NodeInfo {
        &mut self.info
    }

    pub(super) const fn info(&self) -> &NodeInfo {
        &self.info
    }

    pub(super) const fn applied(&self) -> u64 {
        self.applied
    }

    pub(super) const fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    /// Another process with the name of this node, which still runs.
    pub(super) fn namesake(&self, now: BootTime) -> Option<u64> {
        let process = self.namesake?;
        let member = MemberId { node: self.me.node.clone(), process };
        let is_up = self.members.get(&member).is_some_and(|member| member.may_have_lease(now));
        is_up.then_some(process)
    }
}
