//! Listening sockets that another program opened.

use std::net::{SocketAddr, TcpListener};

use parking_lot::Mutex;

/// Listening sockets from systemd, or from the process that this one replaces.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets(Mutex<Vec<(SocketAddr, TcpListener)>>);

impl InheritedSockets {
    /// Adds a socket, which is bound to this address.
    pub(crate) fn add(&self, address: SocketAddr, socket: TcpListener) {
        self.0.lock().push((address, socket));
    }

    /// Takes the sockets of an address. All must be taken: a connection in the queue of one that is closed is lost.
    pub(super) fn take(&self, address: SocketAddr) -> Vec<TcpListener> {
        let mut sockets = self.0.lock();
        let (taken, left) = sockets.drain(..).partition(|(bound, _)| *bound == address);
        *sockets = left;
        let taken: Vec<(SocketAddr, TcpListener)> = taken;
        taken.into_iter().map(|(_, socket)| socket).collect()
    }

    /// The addresses of sockets that were not taken.
    pub(crate) fn left(&self) -> Vec<SocketAddr> {
        let mut left: Vec<_> = self.0.lock().iter().map(|(address, _)| *address).collect();
        left.dedup();
        left
    }
}
