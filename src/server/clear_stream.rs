//! A cleartext connection that sends stored pages without copying them.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use crate::cache::memfd::MemfdArena;

/// Pages up to this length are sent together with the bytes before them. The kernel sends more pages in
/// pieces anyway, and holding back the bytes before them costs several times as much (`benches/README.md`).
const MOST_JOINED: usize = 64 << 10;

/// A stream, and the arena whose pages can be sent on it.
pub(super) struct ClearStream {
    stream: TcpStream,
    pages: MemfdArena,
}

impl ClearStream {
    pub(super) const fn new(stream: TcpStream, pages: MemfdArena) -> Self {
        Self { stream, pages }
    }

    /// Sends the bytes before the pages, then the pages.
    fn send(&self, before: &[IoSlice<'_>], pages: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        if !before.is_empty() {
            let joined = pages.len() <= MOST_JOINED;
            let flags = if joined { SendFlags::MORE } else { SendFlags::empty() };
            let (mut none, flags) = (SendAncillaryBuffer::default(), flags | SendFlags::NOSIGNAL);
            sent = rustix::net::sendmsg(&self.stream, before, &mut none, flags)?;
            if sent < before.iter().map(|slice| slice.len()).sum::<usize>() {
                return Ok(sent);
            }
        }
        match self.pages.send(&self.stream, pages) {
            Ok(more) => Ok(sent + more),
            Err(_) if sent > 0 => Ok(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // A sandbox may forbid `sendfile`. If sending fails for another reason, so does writing.
            Err(_) => self.stream.try_write(pages),
        }
    }
}

impl AsyncWrite for ClearStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(at) = slices.iter().position(|slice| self.pages.can_send(slice)) else {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        };
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let attempt = || self.send(&slices[..at], &slices[at]);
            match self.stream.try_io(Interest::WRITABLE, attempt) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for ClearStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}
