//! The protocol under random histories: nodes stop, are cut off and lose their disks, messages are late or lost, the stream
//! loses messages, and clocks drift. After a purge is complete, no node serves what it removed.

mod parts;

use std::collections::BTreeMap;

use fastrand::Rng;
use parts::{Disk, Message, Position, Stream};

use super::{
    log_name::LogName,
    loss::Loss,
    message::{Heartbeat, MemberId},
    node_info::NodeInfo,
    protocol::Protocol,
};
use crate::base::clock::BootTime;

const NODES: usize = 3;
const OBJECTS: u64 = 4;
const STEPS: usize = 3_000;

/// A process of a node.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what happens to a process is independent")]
struct Process {
    protocol: Protocol,
    has_begun: bool,
    is_paused: bool,
    is_connected: bool,
    /// The purge of everything is in the stream, but not in the journal.
    loss: Option<Loss>,
    /// Whether no other process can notice a loss that it can notice.
    is_witness: bool,
    /// Heartbeats and fetches under way.
    heartbeats: Vec<Heartbeat>,
    fetches: Vec<(u64, u64, Position)>,
}

#[derive(Debug)]
struct Node {
    /// Its clock: nanoseconds for each 1,000 of true time.
    rate: u64,
    disk: Disk,
    has_disk: bool,
    process: Option<Process>,
}

/// A purge whose completion a node waits for.
#[derive(Debug)]
struct Waiting {
    node: usize,
    process: u64,
    era: u64,
    count: u64,
    sequence: u64,
    applied_at: Option<BootTime>,
    object: u64,
    version: u64,
}

struct World {
    random: Rng,
    now: u64,
    stream: Stream,
    nodes: Vec<Node>,
    versions: BTreeMap<u64, u64>,
    /// The version that each object had when a purge of it began that is complete.
    completed: BTreeMap<u64, u64>,
    waiting: Vec<Waiting>,
    processes: u64,
    is_fenced: bool,
    loses_messages: bool,
    hits: u32,
    completions: u32,
}

impl World {
    fn new(seed: u64, is_fenced: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let nodes = (0..NODES).map(|_| Node {
            rate: random.u64(990..=1010),
            disk: Disk::default(),
            has_disk: random.bool(),
            process: None,
        });
        let nodes = nodes.collect();
        Self {
            loses_messages: random.bool(),
            random,
            now: 1_000_000_000_000,
            stream: Stream::default(),
            nodes,
            versions: BTreeMap::new(),
            completed: BTreeMap::new(),
            waiting: Vec::new(),
            processes: 0,
            is_fenced,
            hits: 0,
            completions: 0,
        }
    }

    /// The time by a node's clock.
    fn clock(&self, node: usize) -> BootTime {
        BootTime::from_nanos(self.now / 1_000 * self.nodes[node].rate)
    }

    fn start(&mut self, at: usize) {
        self.processes += 1;
        let member = MemberId { node: format!("n{at}"), process: self.processes };
        let node = &mut self.nodes[at];
        if !node.has_disk {
            node.disk = Disk::default();
        }
        node.process = Some(Process {
            protocol: Protocol::new(member, NodeInfo::default()),
            has_begun: false,
            is_paused: false,
            is_connected: true,
            loss: None,
            is_witness: false,
            heartbeats: Vec::new(),
            fetches: Vec::new(),
        });
    }

    /// What a connected node does: the next step of its task.
    fn work(&mut self, at: usize) {
        let (now, state) = (self.clock(at), self.stream.state());
        let Self { nodes, stream, random, .. } = self;
        let Node { disk, process: Some(process), .. } = &mut nodes[at] else { return };
        if process.is_paused || !process.is_connected {
            return;
        }
        if let Some(loss) = process.loss.take() {
            if loss.concerns_all() {
                stream.append(Message::Everything { number: random.u64(1..) });
            }
            let (state, reset) = (stream.state(), stream.reset());
            let log = LogName::of(&state.name, reset);
            disk.new_log(log.clone(), (disk.newest.0 + 1, state.last));
            process.protocol.start_over(log, &state, now);
            process.has_begun = true;
            process.is_witness = false;
            return;
        }
        let protocol = &mut process.protocol;
        let applied = protocol.applied();
        let outcome = if !process.has_begun {
            process.has_begun = true;
            if protocol.log().is_some() {
                let checked = protocol.check(&state, applied);
                checked.and_then(|()| protocol.check_reset(stream.reset()))
            } else {
                let log = disk.log.clone().filter(|(_, beginning)| beginning.0 == disk.newest.0);
                let known = log.map(|(name, _)| (name, disk.newest.1));
                protocol.resume(known, &state, stream.reset(), now)
            }
        } else if random.u32(..if protocol.is_due() { 3 } else { 20 }) == 0 {
            protocol.check(&state, applied).map(|()| {
                let heartbeat = protocol.heartbeat(now);
                process.heartbeats.push(heartbeat);
            })
        } else {
            Self::consume(process, disk, stream, now)
        };
        if outcome.is_err() {
            process.protocol.revoke();
        }
        process.loss = outcome.err();
    }

    fn consume(
        process: &mut Process,
        disk: &mut Disk,
        stream: &Stream,
        now: BootTime,
    ) -> Result<(), Loss> {
        let protocol = &mut process.protocol;
        let from = protocol.consumed() + 1;
        let Some((&sequence, message)) = stream.messages.range(from..).next() else {
            return Ok(());
        };
        let log = protocol.log().expect("it has begun").clone();
        match message {
            Message::Purge { object } => {
                if protocol.is_new(sequence) {
                    disk.purge(*object, sequence);
                }
                protocol.consume_purge(sequence, &message.subject(), None);
            }
            Message::Everything { number } => {
                if protocol.is_new(sequence) {
                    let log = LogName { reset: *number, ..log };
                    disk.new_log(log, (disk.newest.0, sequence));
                }
                protocol.consume_purge(sequence, &message.subject(), Some(*number));
            }
            Message::Heartbeat(heartbeat) => {
                protocol.consume_heartbeat(sequence, heartbeat.clone(), now)?;
            }
        }
        Ok(())
    }

    /// A client changes an object and purges it through a node.
    fn purge(&mut self, at: usize) {
        let object = self.random.u64(..OBJECTS);
        let version = self.versions.entry(object).or_insert(1);
        *version += 1;
        let version = *version;
        let Some(process) = &self.nodes[at].process else { return };
        if process.is_paused || !process.is_connected || !process.has_begun {
            return;
        }
        let count = process.protocol.count();
        let sequence = self.stream.append(Message::Purge { object });
        let log = process.protocol.log();
        if log.is_none_or(|log| log.stream != self.stream.state().name) {
            // The client tries again.
            return;
        }
        let (process, era) = (process.protocol.me.process, process.protocol.era());
        let applied_at = None;
        let purge =
            Waiting { node: at, process, era, count, sequence, applied_at, object, version };
        self.waiting.push(purge);
    }

    /// Nodes find out that purges are complete.
    fn complete(&mut self) {
        let clocks: Vec<BootTime> = (0..NODES).map(|at| self.clock(at)).collect();
        let Self { nodes, waiting, completed, completions, .. } = self;
        waiting.retain_mut(|purge| {
            let process = nodes[purge.node].process.as_ref();
            let Some(process) = process.filter(|it| it.protocol.me.process == purge.process) else {
                return false;
            };
            let (protocol, now) = (&process.protocol, clocks[purge.node]);
            if process.is_paused {
                return true;
            }
            let subject = Message::Purge { object: purge.object }.subject();
            let is_applied = protocol.has(&subject, purge.sequence, purge.count);
            let is_lost = protocol.consumed() >= purge.sequence && !is_applied;
            if protocol.era() != purge.era || is_lost {
                // The client tries again.
                return false;
            }
            if !is_applied {
                return true;
            }
            let applied_at = *purge.applied_at.get_or_insert(now);
            if !protocol.is_complete(purge.sequence, applied_at, now) {
                return true;
            }
            let newest = completed.entry(purge.object).or_default();
            *newest = purge.version.max(*newest);
            *completions += 1;
            false
        });
    }

    /// A viewer's request to a node.
    fn get(&mut self, at: usize) {
        let (object, now) = (self.random.u64(..OBJECTS), self.clock(at));
        let current = self.versions.get(&object).copied().unwrap_or(1);
        let Node { disk, process: Some(process), .. } = &mut self.nodes[at] else { return };
        if process.is_paused {
            return;
        }
        let has_lease = process.protocol.lease().is_some_and(|until| now < until);
        let served = match disk.find(object) {
            Some(stored) if has_lease || !self.is_fenced => {
                self.hits += 1;
                stored
            }
            _ => {
                process.fetches.push((object, current, disk.newest));
                current
            }
        };
        let least = self.completed.get(&object).copied().unwrap_or(0);
        assert!(served >= least, "n{at} served version {served} of {object}, not {least}");
    }

    /// The stream is created again, or loses its last messages. One of the nodes that knew them must be there to notice.
    fn lose(&mut self) {
        if !self.loses_messages {
            return;
        }
        if self.random.u32(..4) == 0 {
            self.stream = Stream { created: self.stream.created + 1, ..Stream::default() };
            return;
        }
        let name = self.stream.state().name;
        let last = self.stream.last.saturating_sub(self.random.u64(1..6));
        let purges = self.stream.messages.range(last + 1..);
        let newest =
            purges.filter(|(_, it)| !matches!(it, Message::Heartbeat(_))).map(|(at, _)| *at);
        let newest = newest.max();
        let running = self.nodes.iter_mut().filter_map(|node| node.process.as_mut());
        let witness =
            running.filter(|process| !process.is_paused && process.is_connected).find(|process| {
                let protocol = &process.protocol;
                protocol.log().is_some_and(|log| log.stream == name)
                    && newest.is_some_and(|at| protocol.consumed() >= at)
            });
        if let Some(witness) = witness {
            witness.is_witness = true;
            self.stream.last = last;
            self.stream.messages.retain(|sequence, _| *sequence <= last);
        }
    }

    fn step(&mut self) {
        self.now += self.random.u64(..100_000_000);
        let at = self.random.usize(..NODES);
        let choice = self.random.u32(..1000);
        match choice {
            0..600 => self.work(at),
            600..680 => self.purge(at),
            680..850 => self.get(at),
            850..930 => {
                if let Some(process) = &mut self.nodes[at].process {
                    for (object, version, mark) in std::mem::take(&mut process.fetches) {
                        self.nodes[at].disk.stored.insert(object, (version, mark));
                    }
                }
            }
            930..980 => self.deliver_heartbeats(at),
            980..983 if self.nodes[at].process.as_ref().is_some_and(|it| it.is_witness) => {}
            980 => self.change(at, |process| process.is_paused = true),
            981 => self.change(at, |process| {
                process.is_connected = false;
                // It looks at the stream again once it is connected.
                process.has_begun = false;
            }),
            982 => self.nodes[at].process = None,
            983 => self.now += self.random.u64(..30_000_000_000),
            984 => self.lose(),
            _ if self.nodes[at].process.is_none() => self.start(at),
            985..990 => self.change(at, |process| process.is_paused = false),
            _ => self.change(at, |process| process.is_connected = true),
        }
        self.complete();
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Process)) {
        if let Some(process) = &mut self.nodes[at].process {
            change(process);
        }
    }

    /// Heartbeats arrive late, or never.
    fn deliver_heartbeats(&mut self, at: usize) {
        let Some(process) = &mut self.nodes[at].process else { return };
        for heartbeat in std::mem::take(&mut process.heartbeats) {
            if self.random.u32(..10) > 0 {
                self.stream.append(Message::Heartbeat(heartbeat));
            }
        }
    }

    fn run(mut self) -> (u32, u32) {
        for at in 0..NODES {
            self.start(at);
        }
        for _ in 0..STEPS {
            self.step();
        }
        (self.hits, self.completions)
    }
}

fn seeds() -> u64 {
    std::env::var("FOREBAY_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(200)
}

#[test]
fn no_node_serves_what_a_complete_purge_removed() {
    let (mut hits, mut completions) = (0, 0);
    for seed in 0..seeds() {
        let run = std::panic::catch_unwind(|| World::new(seed, true).run());
        let (more_hits, more_completions) = run.unwrap_or_else(|_| panic!("seed {seed}"));
        hits += more_hits;
        completions += more_completions;
    }
    // Otherwise nothing was shown.
    assert!(hits > 3_000 && completions > 5_000, "{hits} hits, {completions} completions");
}

#[test]
fn without_leases_the_histories_show_a_fault() {
    let faults =
        (0..40).filter(|seed| std::panic::catch_unwind(|| World::new(*seed, false).run()).is_err());
    assert!(faults.count() > 10);
}
