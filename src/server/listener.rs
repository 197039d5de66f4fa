//! A listening socket of this process.

use std::{io, net::TcpListener};

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// Whether another program keeps it open for the next process, as systemd does. Then viewers may wait in its queue.
    pub(crate) is_kept: bool,
}

impl Listener {
    /// Another handle of the socket.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, is_kept: self.is_kept })
    }
}
