//! UDP sockets for QUIC: one for each worker, all with one address.
//!
//! The packets of a connection must reach the same worker, also after the client's address changes (RFC 9000 §9). So the
//! first byte of a connection ID says which worker chose it, and the kernel selects the socket by this byte.

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
    /// The worker's number, and how many workers there are: at most 256.
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
        let worker = usize::from(id[0]) / self.workers * self.workers + self.worker;
        // The last, incomplete group of numbers may not have this worker.
        id[0] =
            u8::try_from(worker).unwrap_or_else(|_| u8::try_from(self.worker).unwrap_or_default());
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
    if let Some(first) = sockets.first() {
        steer(first, workers)?;
    }
    Ok(sockets)
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

/// Makes the kernel select the socket of the group by the first byte of the destination connection ID. In the packets that
/// begin a connection, that byte is random.
#[cfg(target_os = "linux")]
fn steer(group: &UdpSocket, workers: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use socket2::SockFilter;
    // Classic BPF on the UDP payload (RFC 9000 §17): a long header has the first bit set and its ID at offset 6; a short
    // one has the ID at offset 1.
    const LOAD_BYTE: u16 = 0x30;
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, 0),
        SockFilter::new(0x45, 0, 2, 0x80),
        SockFilter::new(LOAD_BYTE, 0, 0, 6),
        SockFilter::new(0x05, 0, 0, 1),
        SockFilter::new(LOAD_BYTE, 0, 0, 1),
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

/// Without this, a connection whose client's address changes is lost.
#[cfg(not(target_os = "linux"))]
fn steer(_: &UdpSocket, _: usize) -> io::Result<()> {
    Ok(())
}
