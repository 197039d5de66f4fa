//! The heartbeats of this process.

use std::collections::VecDeque;

use crate::base::clock::BootTime;

/// Heartbeats under way whose time of sending is remembered.
const UNDER_WAY: usize = 16;

/// The heartbeats of this process, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct OwnHeartbeats {
    sent: u64,
    /// Those that were sent and not consumed yet.
    under_way: VecDeque<(u64, BootTime)>,
    /// The last one that was consumed.
    consumed: u64,
}

impl OwnHeartbeats {
    /// How many were sent.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends one now; returns its number.
    pub(super) fn send(&mut self, now: BootTime) -> u64 {
        self.sent += 1;
        if self.under_way.len() == UNDER_WAY {
            self.under_way.pop_front();
        }
        self.under_way.push_back((self.sent, now));
        self.sent
    }

    /// Consumes one; returns when it was sent.
    pub(super) fn consume(&mut self, number: u64) -> Option<BootTime> {
        let (_, sent) = *self.under_way.iter().find(|(other, _)| *other == number)?;
        self.under_way.retain(|(other, _)| *other > number);
        self.consumed = number;
        Some(sent)
    }

    /// Whether the one with this number, or a later one, was consumed.
    pub(super) const fn has(&self, number: u64) -> bool {
        self.consumed >= number
    }

    /// Those that are sent from now on have higher numbers; the others are forgotten.
    pub(super) const fn start_over(&self) -> Self {
        Self { sent: self.sent, under_way: VecDeque::new(), consumed: 0 }
    }
}
