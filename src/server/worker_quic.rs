//! One worker's UDP socket for HTTP/3.

use std::{io, net::UdpSocket, sync::Arc};

use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};

use super::{Handler, Shared, http3::Http3};

/// One worker's UDP socket for HTTP/3.
pub(crate) struct WorkerQuic {
    pub(super) socket: UdpSocket,
    /// The sockets of all workers.
    pub(super) group: Arc<[UdpSocket]>,
    pub(super) endpoint: EndpointConfig,
    pub(super) server: ServerConfig,
}

impl WorkerQuic {
    /// Serves connections until the drain ends. Must run within the worker's runtime.
    pub(crate) fn serve<H: Handler>(
        self,
        handler: &H,
        shared: Shared,
    ) -> io::Result<impl Future<Output = ()> + Send + use<H>> {
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(self.endpoint, Some(self.server), self.socket, runtime)?;
        let server = Http3 { handler: handler.for_thread(), shared };
        let group = self.group;
        Ok(async move {
            Arc::new(server).accept(endpoint).await;
            drop(group);
        })
    }
}
