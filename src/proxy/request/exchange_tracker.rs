//! Counts of the exchanges of a connection, for its timeouts.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the exchanges of one connection by their state.
///
/// ```text
/// begin ─┬─► Awaiting ◄──► Sending ─┬─► end
///        │       └──────────────────┤
///        └─► Immediate ─────────────┘
/// ```
///
/// While any exchange is *awaiting*, the viewer waits for us and only the request's own timeouts apply. While all
/// are *sending*, we wait for the viewer to read bytes. Without any exchange, the connection is idle. An
/// *immediate* exchange has its whole response when it begins. The connection's write timeout covers it.
#[derive(Debug, Default)]
pub struct ExchangeTracker {
    begun: AtomicU32,
    open: AtomicU32,
    awaiting: AtomicU32,
}

/// The state of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeState {
    /// The whole response exists.
    Immediate,
    /// The response is not ready, or its body has no bytes yet.
    Awaiting,
    /// The body has bytes for the viewer.
    Sending,
}

impl ExchangeTracker {
    /// The number of exchanges begun. The count wraps around.
    #[must_use]
    pub fn begun(&self) -> u32 {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether an exchange is in progress.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// Whether the viewer is waiting for bytes from us.
    #[must_use]
    pub fn is_awaiting_body(&self) -> bool {
        self.awaiting.load(Ordering::Acquire) > 0
    }

    /// Begins an exchange in a state.
    pub(crate) fn begin(&self, state: ExchangeState) {
        self.begun.fetch_add(1, Ordering::AcqRel);
        if state != ExchangeState::Immediate {
            self.open.fetch_add(1, Ordering::AcqRel);
        }
        if state == ExchangeState::Awaiting {
            self.awaiting.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Changes the state of an exchange that is not immediate.
    pub(crate) fn change(&self, state: &mut ExchangeState, to: ExchangeState) {
        match (*state, to) {
            (ExchangeState::Awaiting, ExchangeState::Sending) => {
                self.awaiting.fetch_sub(1, Ordering::AcqRel);
            }
            (ExchangeState::Sending, ExchangeState::Awaiting) => {
                self.awaiting.fetch_add(1, Ordering::AcqRel);
            }
            _ => return,
        }
        *state = to;
    }

    /// Ends an exchange.
    pub(crate) fn end(&self, state: ExchangeState) {
        if state == ExchangeState::Awaiting {
            self.awaiting.fetch_sub(1, Ordering::AcqRel);
        }
        if state != ExchangeState::Immediate {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_busy_until_its_exchanges_end() {
        use ExchangeState::{Awaiting, Immediate, Sending};
        let tracker = ExchangeTracker::default();
        let seen = || (tracker.begun(), tracker.is_busy(), tracker.is_awaiting_body());
        assert_eq!(seen(), (0, false, false));
        tracker.begin(Immediate);
        assert_eq!(seen(), (1, false, false));
        tracker.end(Immediate);
        tracker.begin(Awaiting);
        assert_eq!(seen(), (2, true, true));
        let mut state = Awaiting;
        for (to, is_awaiting) in
            [(Sending, false), (Sending, false), (Awaiting, true), (Sending, false)]
        {
            tracker.change(&mut state, to);
            assert_eq!(seen(), (2, true, is_awaiting));
        }
        tracker.begin(Awaiting);
        assert_eq!(seen(), (3, true, true));
        tracker.end(Awaiting);
        tracker.end(state);
        assert_eq!(seen(), (3, false, false));
        let mut immediate = Immediate;
        tracker.change(&mut immediate, Awaiting);
        assert_eq!((immediate, seen()), (Immediate, (3, false, false)));
    }
}
