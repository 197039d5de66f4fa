//! Messages to systemd and sockets from it, for units with `Type=notify` (sd_notify(3)). Without systemd, they go nowhere.

use std::{io, time::Duration};

use listenfd::ListenFd;
use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::server::{InheritedSockets, Listener};

/// The shortest limit of a watchdog that makes sense.
const SHORTEST: Duration = Duration::from_millis(100);

/// Signs of life in the time after which systemd restarts a silent process: some may be missing.
const SIGNS: u32 = 6;

/// The time beyond the drain for the rest of a stop.
const REST: Duration = Duration::from_secs(5);

/// The times for signs of life, if systemd waits for them.
pub(super) struct Watchdog(Option<Interval>);

impl Watchdog {
    pub(super) fn new() -> Self {
        let limit = watchdog_enabled().filter(|limit| *limit >= SHORTEST);
        Self(limit.map(|limit| {
            let mut signs = interval(limit / SIGNS);
            signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
            signs
        }))
    }

    /// Waits until the next sign of life is due. Never ends without a watchdog.
    pub(super) async fn next_sign(&mut self) {
        match &mut self.0 {
            Some(signs) => drop(signs.tick().await),
            None => std::future::pending().await,
        }
    }
}

/// The process works.
pub(super) fn is_alive() {
    send(&[NotifyState::Watchdog]);
}

/// Viewers can connect, or a reload is over.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins.
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    let states = [Some(NotifyState::Reloading), now.ok()];
    send(&states.into_iter().flatten().collect::<Vec<_>>());
}

/// The drain begins, and takes at most this long.
pub(super) fn stopping(longest: Duration) {
    let micros = u32::try_from((longest + REST).as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Another process of this service serves from now on.
pub(super) fn replaced_by(process: u32) {
    send(&[NotifyState::MainPid(process), NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The listening sockets that systemd has opened for this process (socket activation, sd_listen_fds(3)).
///
/// # Errors
/// If one of them is not a TCP socket.
pub(super) fn sockets() -> io::Result<InheritedSockets> {
    let sockets = InheritedSockets::default();
    let mut passed = ListenFd::from_env();
    for number in 0..passed.len() {
        if let Some(socket) = passed.take_tcp_listener(number)? {
            sockets.add(socket.local_addr()?, Listener { socket, is_kept: true });
        }
    }
    Ok(sockets)
}

/// Sends a message. One that is lost must not stop the service.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::debug!(%error, "systemd cannot be reached");
    }
}
