//! Listening sockets of one address.

use std::{io, net::SocketAddr, sync::Arc};

use futures_util::future::join_all;

use super::{Handler, Shared, TlsSettings, accept, connection::Server, listener::Listener};

/// A bound endpoint: listening sockets for each worker.
pub struct Bound {
    /// The address it is bound to.
    pub address: SocketAddr,
    tls: Option<Arc<TlsSettings>>,
    sockets: Vec<Listener>,
    /// The workers that share the sockets.
    workers: usize,
}

impl Bound {
    /// Sockets for so many workers, which share them if there are fewer.
    pub(super) fn new(
        address: SocketAddr,
        tls: Option<Arc<TlsSettings>>,
        mut sockets: Vec<Listener>,
        workers: usize,
    ) -> io::Result<Self> {
        for number in sockets.len()..workers {
            let shared = sockets[number % sockets.len()].try_clone()?;
            sockets.push(shared);
        }
        Ok(Self { address, tls, sockets, workers })
    }

    /// One worker's part of the sockets, while there are any.
    #[must_use]
    pub fn split(&mut self) -> Option<Self> {
        let count = self.sockets.len().checked_div(self.workers)?;
        self.workers -= 1;
        let sockets = self.sockets.split_off(self.sockets.len() - count);
        Some(Self { address: self.address, tls: self.tls.clone(), sockets, workers: 1 })
    }

    /// The same sockets, for another process.
    pub(crate) fn copies(&self) -> io::Result<Vec<Listener>> {
        self.sockets.iter().map(Listener::try_clone).collect()
    }

    /// Accepts connections on the sockets of one worker until the drain begins.
    ///
    /// Must run within a tokio runtime.
    pub fn serve<H: Handler>(
        self,
        handler: &H,
        shared: Shared,
    ) -> io::Result<impl Future<Output = ()> + Send + use<H>> {
        let server = Arc::new(Server { handler: handler.for_thread(), shared, tls: self.tls });
        let accept = |Listener { socket, is_kept }| {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            Ok(accept::accept(socket, is_kept, Arc::clone(&server)))
        };
        let accepting = self.sockets.into_iter().map(accept).collect::<io::Result<Vec<_>>>()?;
        let accepting = join_all(accepting);
        Ok(async move { drop(accepting.await) })
    }
}
