//! Accepts connections until the drain begins, then empties the accept queue, unless another process does.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};

use super::{Handler, Shared, canonical, connection::Server, drain::Accepting};
use crate::base::{
    clock::Clock,
    log::{LogLimiter, unless_zero},
};

/// Accepts connections until the drain begins. `is_kept` is whether another program keeps the socket.
pub(super) async fn accept<H: Handler>(
    listener: TcpListener,
    is_kept: bool,
    server: Arc<Server<H>>,
) {
    let mut drain = server.shared.drain.clone();
    loop {
        match drain.accepting() {
            Accepting::Now => {}
            Accepting::Later => {
                drain.changed().await;
                continue;
            }
            Accepting::Elsewhere => return,
            // The next process accepts them.
            Accepting::TheRest if is_kept => return,
            Accepting::TheRest => return accept_rest(&listener, &server).await,
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.changed() => continue,
        };
        match accepted {
            Ok((stream, peer)) => spawn(&server, stream, peer).await,
            Err(error) => {
                if is_out_of_descriptors(&error) && server.shared.reserved_fds.release() {
                    continue;
                }
                // Back off until a connection closes.
                tracing::error!(%error, "cannot accept connections; raise the limit on open files");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Serves an accepted connection once there is room for it.
async fn spawn<H: Handler>(server: &Arc<Server<H>>, stream: TcpStream, peer: SocketAddr) {
    let (server, client) = (Arc::clone(server), canonical(peer));
    let Some(share) = server.shared.share(client.ip()) else { return };
    let Ok(permit) = Arc::clone(&server.shared.permits).acquire_owned().await else { return };
    tokio::spawn(async move {
        server.serve(stream, client).await;
        drop((permit, share));
        server.shared.reserved_fds.refill();
    });
}

pub(super) fn refuse_client(shared: &Shared, client: IpAddr) {
    static LINES: LogLimiter = LogLimiter::new();
    shared.metrics.client_limit.inc();
    if let Some(suppressed) = LINES.admit(Clock::system().now()) {
        tracing::warn!(
            %client,
            suppressed = unless_zero(suppressed),
            "closed a connection: the client has reached `max_connections_per_client`"
        );
    }
}

/// EMFILE and ENFILE: the process, or the whole system, has no descriptor left.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// The wait for TCP handshakes in progress, and the longest time for emptying the accept queue.
const HANDSHAKES: Duration = Duration::from_millis(100);
const ACCEPT_REST: Duration = Duration::from_secs(2);

/// Accepts connections that the kernel has already accepted: closing the socket would reset them.
async fn accept_rest<H: Handler>(listener: &TcpListener, server: &Arc<Server<H>>) {
    refuse_handshakes(listener);
    let rest = async {
        while let Ok(accepted) = tokio::time::timeout(HANDSHAKES, listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => spawn(server, stream, peer).await,
                // Out of descriptors: connections that end free some.
                Err(_) => tokio::time::sleep(HANDSHAKES).await,
            }
        }
    };
    let _ = tokio::time::timeout(ACCEPT_REST, rest).await;
}

/// Drops new handshakes from now on. Those viewers retry and find the socket closed.
/// Without this, a connection might enter the queue between the last accept and the close.
#[cfg(target_os = "linux")]
fn refuse_handshakes(listener: &TcpListener) {
    use socket2::{SockFilter, SockRef};
    // Classic BPF on the TCP header: drop a segment with SYN (RFC 9293 §3.1), keep all others.
    const LOAD_FLAGS: SockFilter = SockFilter::new(0x30, 0, 0, 13);
    const IS_SYN: SockFilter = SockFilter::new(0x45, 0, 1, 0x02);
    const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    const KEEP: SockFilter = SockFilter::new(0x06, 0, 0, u32::MAX);
    // Without the filter, a connection that arrives during the close may be reset.
    let _ = SockRef::from(listener).attach_filter(&[LOAD_FLAGS, IS_SYN, DROP, KEEP]);
}

#[cfg(not(target_os = "linux"))]
fn refuse_handshakes(_: &TcpListener) {}
