//! UDP sockets for QUIC: one for each worker, all with one address.
//!
//! The packets of a connection must reach the same worker, also after the client's address changes (RFC 9000 §9). So the
//! first two bytes of a connection ID say which worker chose it, and the kernel selects the socket by them.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use quinn::{ConnectionId, ConnectionIdGenerator};
use socket2::{Domain, Protocol, Socket, Type};

/// Length of our connection IDs in bytes.
const ID: usize = 12;

/// Buffers of the kernel, in bytes: packets arrive and leave in bursts.
const BUFFER: usize = 2 << 20;

/// The connection IDs of one worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerIds {
    /// The worker's number, and how many workers there are.
    pub(super) worker: usize,
    pub(super) workers: usize,
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID];
        // From the generator of the cryptography library: observers must not be able to connect IDs to each other.
        if aws_lc_rs::rand::fill(&mut id).is_err() {
            id = std::array::from_fn(|_| fastrand::u8(..));
        }
        let random = usize::from(u16::from_be_bytes([id[0], id[1]]));
        let number = random / self.workers * self.workers + self.worker;
        // The last, incomplete group of numbers may not have this worker.
        let number = u16::try_from(number).or_else(|_| u16::try_from(number - self.workers));
        id[..2].copy_from_slice(&number.unwrap_or_default().to_be_bytes());
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Binds a socket for each worker.
pub(super) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    // Sockets with SO_REUSEPORT share their port with other programs, too. One without it shows whether there are any.
    let probe = open(address, false)?;
    let address = probe.local_addr()?;
    if workers <= 1 {
        return Ok(vec![probe]);
    }
    drop(probe);
    let sockets = (0..workers).map(|_| open(address, true)).collect::<io::Result<Vec<_>>>()?;
    match sockets.first().map(|first| steer(first, workers)) {
        Some(Err(error)) => {
            tracing::warn!(
                %error,
                "one worker serves all of HTTP/3: the system cannot keep connections with their workers"
            );
            drop(sockets);
            Ok(vec![open(address, false)?])
        }
        _ => Ok(sockets),
    }
}

fn open(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    #[cfg(unix)]
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // The system may allow less.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Makes the kernel select the socket of the group by the first two bytes of the destination connection ID. In the packets
/// that begin a connection, they are random.
#[cfg(target_os = "linux")]
fn steer(group: &UdpSocket, workers: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use socket2::SockFilter;
    // Classic BPF on the UDP payload (RFC 9000 §17): a long header has the first bit set and its ID at offset 6; a short
    // one has the ID at offset 1.
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_TWO: u16 = 0x28;
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, 0),
        SockFilter::new(0x45, 0, 2, 0x80),
        SockFilter::new(LOAD_TWO, 0, 0, 6),
        SockFilter::new(0x05, 0, 0, 1),
        SockFilter::new(LOAD_TWO, 0, 0, 1),
        // Divide, keep the remainder, return it.
        SockFilter::new(0x94, 0, 0, u32::try_from(workers).unwrap_or(u32::MAX)),
        SockFilter::new(0x16, 0, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(u16::MAX),
        // `SockFilter` is transparent.
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&program)).unwrap_or_default();
    #[expect(unsafe_code, reason = "no library has this option of Linux's sockets")]
    // SAFETY: `program` and the instructions that it points to live until the call returns, and the kernel copies them.
    let set = unsafe {
        libc::setsockopt(
            group.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            length,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn steer(_: &UdpSocket, _: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_worker() {
        for workers in [1, 2, 3, 7, 256, 1024] {
            for worker in [0, workers / 2, workers - 1] {
                let mut ids = WorkerIds { worker, workers };
                for _ in 0..1000 {
                    let id = ids.generate_cid();
                    assert_eq!(id.len(), ID);
                    let number = u16::from_be_bytes([id[0], id[1]]);
                    assert_eq!(usize::from(number) % workers, worker);
                }
            }
        }
    }
}
