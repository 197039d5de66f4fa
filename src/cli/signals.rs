//! The signals to a serving process. All but SIGHUP are nginx's.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::stop_signals::StopSignals;

/// The signals to a serving process.
pub(super) struct Signals {
    /// Load the configuration again.
    pub(super) hangup: Signal,
    /// Reopen the access log.
    pub(super) reopen: Signal,
    /// Replace the process.
    pub(super) upgrade: Signal,
    pub(super) stop: StopSignals,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
            stop: StopSignals::new()?,
        })
    }
}
