//! Batches small writes. HTTP/2 writes and flushes each frame separately, and each would be a TLS record and a
//! system call. Batched writes are sent when the connection has nothing more to do.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A batch is sent at this length: four TLS records (RFC 8446 §5.1). Measurements show that copying it costs less
/// than that many system calls (`benches/README.md`).
const FULL: usize = 64 << 10;

/// Writes of at least this length are not batched.
const LARGE: usize = 32 << 10;

/// Bytes copied at once, here and into TLS's records. glibc copies more with `rep movsb`, which takes several times
/// as long on Zen 3 and 4 if the target's page offset is slightly above the source's (glibc bug 30994). That is the
/// case for content behind the head of a frame or a record.
const PIECE: usize = 2 << 10;

/// A stream whose small writes are sent by [`WriteBatcher::poll_out`].
pub(super) struct WriteBatcher<S>(Arc<Mutex<Batch<S>>>);

impl<S> Clone for WriteBatcher<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncWrite + Unpin> WriteBatcher<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Batch { stream, waiting: BytesMut::new(), unflushed: false })))
    }

    /// Sends and flushes the batch.
    pub(super) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.lock();
        ready!(gathering.poll_empty(cx))?;
        gathering.poll_flushed(cx)
    }
}

struct Batch<S> {
    stream: S,
    waiting: BytesMut,
    /// Whether `stream` may buffer unflushed bytes.
    unflushed: bool,
}

impl<S: AsyncWrite + Unpin> Batch<S> {
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let pieces: Vec<_> = self.waiting.chunks(PIECE).map(IoSlice::new).collect();
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write_vectored(cx, &pieces))?;
            self.took(written)?;
        }
        // Frees the buffer for other connections: idle ones hold none.
        self.waiting = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Removes written bytes from the batch. Returns the number written beyond it.
    fn took(&mut self, written: usize) -> io::Result<usize> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        let waited = written.min(self.waiting.len());
        self.waiting.advance(waited);
        Ok(written - waited)
    }

    /// Sends the batch, then at least some of `slices`.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.waiting.is_empty() {
                self.unflushed = true;
                return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
            }
            let mut all = [IoSlice::new(&[]); 8];
            let some = slices.len().min(all.len() - 1);
            all[0] = IoSlice::new(&self.waiting);
            all[1..=some].copy_from_slice(&slices[..some]);
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write_vectored(cx, &all[..=some]))?;
            let took = self.took(written)?;
            if took > 0 {
                return Poll::Ready(Ok(took));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteBatcher<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathering = self.0.lock();
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if length >= LARGE {
            return gathering.poll_through(cx, slices);
        }
        if gathering.waiting.len() + length > FULL {
            ready!(gathering.poll_empty(cx))?;
        }
        if gathering.waiting.capacity() == 0 {
            gathering.waiting.reserve(FULL);
        }
        for piece in slices.iter().flat_map(|slice| slice.chunks(PIECE)) {
            gathering.waiting.extend_from_slice(piece);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().stream.is_write_vectored()
    }

    /// Leaves the batch waiting; flushes only if it is empty.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.lock();
        if gathering.waiting.is_empty() { gathering.poll_flushed(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.lock();
        ready!(gathering.poll_empty(cx))?;
        Pin::new(&mut gathering.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteBatcher<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes at most `most` bytes of a write, and remembers how long writes were.
    #[derive(Default)]
    struct Narrow {
        most: usize,
        taken: Vec<u8>,
        writes: Vec<usize>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let taken = all.len().min(self.most);
            self.taken.extend_from_slice(&all[..taken]);
            self.writes.push(taken);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(most: usize, lengths: &[usize]) -> (Narrow, Vec<u8>) {
        let mut stream = WriteBatcher::new(Narrow { most, ..Narrow::default() });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut all = Vec::new();
        for length in lengths {
            let bytes: Vec<u8> = (0..*length).map(|at| (at + all.len()).to_le_bytes()[0]).collect();
            let (mut rest, middle) = (&bytes[..], length / 2);
            while !rest.is_empty() {
                let (one, two) = rest.split_at(middle.min(rest.len()));
                let slices = [IoSlice::new(one), IoSlice::new(two)];
                let written = Pin::new(&mut stream).poll_write_vectored(&mut cx, &slices);
                let Poll::Ready(Ok(written)) = written else { panic!("{written:?}") };
                rest = &rest[written..];
            }
            all.extend_from_slice(&bytes);
        }
        assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
        assert!(stream.poll_out(&mut cx).is_ready());
        let narrow = std::mem::take(&mut stream.0.lock().stream);
        (narrow, all)
    }

    #[test]
    fn small_writes_go_out_together_and_large_ones_behind_them() {
        let (stream, _) = write(usize::MAX, &[9, 100, 9, 1000, 9, 1000]);
        assert_eq!(stream.writes, [2127]);
        let (stream, _) = write(usize::MAX, &[9, 40_000, 9, 40_000, 9]);
        assert_eq!(stream.writes, [40_009, 40_009, 9]);
        let (stream, _) = write(usize::MAX, &[16_000; 9]);
        assert_eq!(stream.writes, [64_000, 64_000, 16_000]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_changes_places(
            most in 1_usize..80_000,
            lengths in proptest::collection::vec(0_usize..50_000, 0..20),
        ) {
            let (stream, all) = write(most, &lengths);
            prop_assert!(stream.taken == all);
        }
    }
}
