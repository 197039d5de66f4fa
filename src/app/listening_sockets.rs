//! Second handles of the listening sockets, for the next process.

use std::{io, net::SocketAddr};

use crate::server::{Bound, Listener};

/// Second handles of the listening sockets, for the next process. The sockets stay open until these are closed, too.
#[derive(Debug, Default)]
pub(super) struct ListeningSockets(Vec<(SocketAddr, Vec<Listener>)>);

impl ListeningSockets {
    pub(super) fn of<'a>(bound: impl Iterator<Item = &'a Bound>) -> io::Result<Self> {
        let copies = bound.map(|bound| Ok((bound.address, bound.copies()?)));
        copies.collect::<io::Result<_>>().map(Self)
    }

    /// Handles that can be sent, by address.
    pub(super) fn copies(&self) -> io::Result<Vec<(SocketAddr, Vec<Listener>)>> {
        let copy = |sockets: &Vec<Listener>| {
            sockets.iter().map(Listener::try_clone).collect::<io::Result<Vec<_>>>()
        };
        self.0.iter().map(|(address, sockets)| Ok((*address, copy(sockets)?))).collect()
    }

    pub(super) fn close(&mut self) {
        self.0.clear();
    }
}
