//! The UDP sockets for HTTP/3, which the workers get once they are bound.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::server::{BindError, BoundQuic, Limits, TlsSettings, WorkerQuic};

/// How often the sockets are tried to be bound while the process that this one replaces has them.
const INTERVAL: Duration = Duration::from_millis(100);

/// The UDP sockets of all workers with one address.
pub(super) struct QuicSockets(Vec<oneshot::Receiver<WorkerQuic>>);

impl QuicSockets {
    /// Binds the sockets. If `is_replacing`, another process may have the address until it has ended its connections, and
    /// the workers get the sockets after that. Must be called within a runtime.
    pub(super) fn bind(
        address: SocketAddr,
        workers: usize,
        tls: &Arc<TlsSettings>,
        limits: Limits,
        is_replacing: bool,
    ) -> Result<Self, BindError> {
        let (senders, receivers) = (0..workers).map(|_| oneshot::channel()).unzip();
        match BoundQuic::bind(address, workers, tls, &limits) {
            Ok(bound) => deliver(bound, senders),
            Err(error) if is_replacing && error.source.kind() == ErrorKind::AddrInUse => {
                let tls = Arc::clone(tls);
                tokio::spawn(async move {
                    let bound = loop {
                        tokio::time::sleep(INTERVAL).await;
                        match BoundQuic::bind(address, workers, &tls, &limits) {
                            Ok(bound) => break bound,
                            Err(error) if error.source.kind() == ErrorKind::AddrInUse => {}
                            Err(error) => {
                                return tracing::error!(%error, "there is no HTTP/3");
                            }
                        }
                    };
                    deliver(bound, senders);
                });
            }
            Err(error) => return Err(error),
        }
        Ok(Self(receivers))
    }

    /// The socket of one worker, once it is bound.
    pub(super) fn split(&mut self) -> Option<oneshot::Receiver<WorkerQuic>> {
        self.0.pop()
    }
}

fn deliver(bound: BoundQuic, senders: Vec<oneshot::Sender<WorkerQuic>>) {
    for (socket, sender) in bound.split().into_iter().zip(senders) {
        // A worker that has ended serves nothing.
        let _ = sender.send(socket);
    }
}
