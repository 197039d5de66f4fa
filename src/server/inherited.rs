//! Listening sockets that another program opened.

use std::net::SocketAddr;

use parking_lot::Mutex;

use super::listener::Listener;

/// Listening sockets from systemd, or from the process that this one replaces.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets(Mutex<Vec<(SocketAddr, Listener)>>);

impl InheritedSockets {
    /// Adds a socket, which is bound to this address.
    pub(crate) fn add(&self, address: SocketAddr, socket: Listener) {
        self.0.lock().push((address, socket));
    }

    /// Takes the sockets of an address. All must be taken: a connection in the queue of one that is closed is lost.
    pub(super) fn take(&self, address: SocketAddr) -> Vec<Listener> {
        let mut sockets = self.0.lock();
        let (taken, others) = sockets.drain(..).partition(|(bound, _)| *bound == address);
        *sockets = others;
        let taken: Vec<(SocketAddr, Listener)> = taken;
        taken.into_iter().map(|(_, socket)| socket).collect()
    }

    /// Whether there is a socket with this port.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.0.lock().iter().any(|(address, _)| address.port() == port)
    }

    /// The addresses of sockets that were not taken.
    pub(crate) fn unused(&self) -> Vec<SocketAddr> {
        let mut unused: Vec<_> = self.0.lock().iter().map(|(address, _)| *address).collect();
        unused.dedup();
        unused
    }
}
