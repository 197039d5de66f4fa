//! Messages over a pair of Unix sockets, with bytes and file descriptors.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::retry_on_intr,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};

use super::Message;

/// The most file descriptors in one message. Linux allows 253.
const MOST_FDS: usize = 128;

/// The longest message, and the most bytes with one.
const MOST_TEXT: usize = 256 << 20;
const MOST_BYTES: usize = 1 << 30;

/// Received file descriptors are not passed on to other programs.
#[cfg(target_os = "linux")]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();

/// Bytes before a message: its length, and the number of bytes with it.
const HEAD: usize = 8;

/// One end of the channel. Several threads may send, and one may receive.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    socket: Arc<UnixStream>,
    /// Held while a message is sent.
    sending: Arc<Mutex<()>>,
}

/// A message, and what came with it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Channel {
    /// A channel, and its other end for the new process.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self::of(ours), theirs.into()))
    }

    /// The end that a process got as its standard input.
    pub(crate) fn of_standard_input() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        // Programs that this process runs must not have the channel.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self::of(socket.into()))
    }

    fn of(socket: UnixStream) -> Self {
        Self { socket: Arc::new(socket), sending: Arc::default() }
    }

    /// The longest wait for the other process; `None` waits as long as it lives.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)?;
        self.socket.set_write_timeout(timeout)
    }

    /// Ends the channel for both processes.
    pub(crate) fn close(&self) {
        // Closed already if the other process has ended.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: &Message) -> io::Result<()> {
        self.send_with(message, &[], &[])
    }

    /// Sends a message with bytes and file descriptors.
    pub(crate) fn send_with(
        &self,
        message: &Message,
        bytes: &[&[u8]],
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let lengths = [text.len(), bytes.iter().map(|part| part.len()).sum()];
        let mut head = [0; HEAD];
        for (place, length) in head.chunks_exact_mut(4).zip(lengths) {
            let length = u32::try_from(length).map_err(io::Error::other)?;
            place.copy_from_slice(&length.to_le_bytes());
        }
        let _sending = self.sending.lock();
        let sent = self.send_head(&head, fds)?;
        let mut socket = &*self.socket;
        socket.write_all(&head[sent..])?;
        socket.write_all(&text)?;
        bytes.iter().try_for_each(|part| socket.write_all(part))
    }

    /// Sends the first bytes, with which file descriptors go.
    fn send_head(&self, head: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("too many sockets"));
        }
        let parts = [IoSlice::new(head)];
        let send = || sendmsg(&*self.socket, &parts, &mut control, SendFlags::empty());
        Ok(retry_on_intr(send)?)
    }

    /// Receives the next message.
    ///
    /// # Errors
    /// If the other process has ended (`UnexpectedEof`), waits too long (`WouldBlock`), or sends something else.
    pub(crate) fn receive(&self) -> io::Result<Received> {
        let (mut head, mut fds, mut read) = ([0; HEAD], Vec::new(), 0);
        while read < HEAD {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut head[read..])];
            let receive = || recvmsg(&*self.socket, &mut parts, &mut control, CLOSE_ON_EXEC);
            let received = retry_on_intr(receive)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    fds.extend(received);
                }
            }
            if received.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            read += received.bytes;
        }
        let length = |at: usize| {
            let length: [u8; 4] = head[at..at + 4].try_into().unwrap_or_default();
            usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX)
        };
        let text = self.read(length(0), MOST_TEXT)?;
        let bytes = self.read(length(4), MOST_BYTES)?;
        Ok(Received { message: serde_json::from_slice(&text)?, bytes, fds })
    }

    fn read(&self, length: usize, most: usize) -> io::Result<Vec<u8>> {
        if length > most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
        }
        let mut bytes = vec![0; length];
        (&*self.socket).read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// The error if a message is not the one that must come next.
pub(crate) fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other process sent an unexpected message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_bring_bytes_and_sockets() {
        let (one, other) = Channel::pair().expect("sockets");
        let other = Channel::of(other.into());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("socket");
        let address = listener.local_addr().expect("address");
        let sockets = [listener.as_fd(), listener.as_fd()];
        let message = Message::Listener { address, is_kept: true };
        one.send_with(&message, &[b"ab", b"c"], &sockets).expect("sent");
        one.send(&Message::Prepared).expect("sent");
        drop(one);
        let Received { message, bytes, fds } = other.receive().expect("received");
        assert!(
            matches!(message, Message::Listener { address: sent, is_kept: true } if sent == address)
        );
        assert_eq!((&bytes[..], fds.len()), (&b"abc"[..], 2));
        for fd in fds {
            let copy = std::net::TcpListener::from(fd);
            assert_eq!(copy.local_addr().expect("address"), address);
        }
        assert!(matches!(other.receive().expect("received").message, Message::Prepared));
        let ended = other.receive().expect_err("the other process has ended");
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (one, other) = Channel::pair().expect("sockets");
        let mut other = UnixStream::from(other);
        other.write_all(&u32::MAX.to_le_bytes()).expect("sent");
        other.write_all(&[0; 4]).expect("sent");
        assert_eq!(one.receive().expect_err("too long").kind(), io::ErrorKind::InvalidData);
        other.write_all(&[2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}']).expect("sent");
        assert!(one.receive().is_err());
    }
}
