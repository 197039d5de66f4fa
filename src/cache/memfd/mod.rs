//! Content in pages that the kernel can send to a viewer without copying them.
//!
//! A memory file, mapped once. Readers see plain bytes. A plaintext listener looks up their offset in
//! the file, and the kernel sends the pages directly (`sendfile(2)`). Such pages may still be in a
//! socket's queue after the last reference here is dropped, so a page is written only once. A thread returns dropped
//! content to the system, and its extent of the file gets new pages.
//!
//! If the system has no memory files or limits the address space, content is kept on the heap and is
//! copied when it is sent.

mod extents;
mod mapped;
mod pages;

use std::{io, sync::Arc};

use bytes::Bytes;
use mapped::Mapped;
pub use pages::{ArrivingPages, Pages};
use rustix::fd::AsFd;

/// Smaller pieces, and smaller parts of pieces, are copied to the socket: that costs no more than references to pages.
const LEAST: usize = 16 << 10;

/// Bytes of a page.
const PAGE: usize = 4096;

/// The memory that content of this length takes in an arena.
#[must_use]
pub const fn footprint(length: usize) -> usize {
    if length < LEAST { length } else { length.next_multiple_of(PAGE) }
}

/// A memory file divided into extents; empty if the system does not support it.
#[derive(Clone, Debug, Default)]
pub struct MemfdArena(Option<Arc<Mapped>>);

impl MemfdArena {
    /// Creates a file for `capacity` bytes of content in pieces of at most `piece` bytes.
    #[must_use]
    pub fn new(capacity: u64, piece: u32) -> Self {
        let mapped = Mapped::new(capacity, piece as usize).inspect_err(|error| {
            tracing::warn!(%error, "cannot use a memory file; objects of 16 KiB and more are copied when they are sent");
        });
        Self(mapped.ok().map(Arc::new))
    }

    /// Joins `chunks` into one piece of content.
    #[must_use]
    pub fn join(&self, chunks: &[Bytes]) -> Pages {
        let placed = self.begin(chunks.iter().map(Bytes::len).sum()).and_then(|mut arriving| {
            let written = chunks.iter().try_for_each(|chunk| arriving.append(chunk));
            written.ok().and_then(|()| arriving.finish())
        });
        placed.unwrap_or_else(|| Pages::on_heap(chunks))
    }

    /// Begins a piece of content that arrives in chunks. `None` if it must be on the heap.
    #[must_use]
    pub fn begin(&self, length: usize) -> Option<ArrivingPages> {
        let mapped = self.0.as_ref().filter(|_| length >= LEAST)?;
        ArrivingPages::new(mapped, length)
    }

    /// Whether [`Self::send`] can send `bytes`: they are in this file and long enough.
    #[must_use]
    pub fn can_send(&self, bytes: &[u8]) -> bool {
        bytes.len() >= LEAST
            && self.0.as_ref().is_some_and(|mapped| mapped.offset_of(bytes).is_some())
    }

    /// Sends bytes of this file to `socket` and returns how many the socket accepted.
    ///
    /// # Errors
    /// Those of `sendfile(2)`; `InvalidInput` if the bytes are not in this file.
    pub fn send(&self, socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        let found = self.0.as_ref().and_then(|mapped| Some((mapped, mapped.offset_of(bytes)?)));
        let (mapped, mut offset) = found.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(rustix::fs::sendfile(socket, &mapped.extents.file, Some(&mut offset), bytes.len())?)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const PIECE: usize = 1 << 20;

    fn file() -> MemfdArena {
        let file = MemfdArena::new(4 << 20, 1 << 20);
        assert!(file.0.is_some(), "the system has memory files");
        file
    }

    fn chunks(fill: u8, length: usize) -> Vec<Bytes> {
        vec![vec![fill; length / 3].into(), Bytes::new(), vec![fill; length - length / 3].into()]
    }

    #[test]
    fn joined_pieces_read_as_their_chunks() {
        for (file, length) in [(file(), 10), (file(), PIECE), (MemfdArena::default(), PIECE)] {
            let pages = file.join(&chunks(7, length));
            assert_eq!(pages.as_ref(), vec![7; length]);
            assert_eq!(file.can_send(pages.as_ref()), length == PIECE && file.0.is_some());
        }
        let file = file();
        let longer = file.join(&chunks(1, 2 * PIECE + 1));
        assert!(
            longer.as_ref().len() > 2 * PIECE && !file.can_send(longer.as_ref()),
            "on the heap"
        );
        assert!(!file.can_send(&vec![0; PIECE]));
    }

    #[test]
    fn places_are_taken_again_and_run_out_without_harm() {
        const SHORT: usize = 64 << 10;
        let file = file();
        let all = |length, many, placed| {
            let held: Vec<_> = (0..many).map(|fill| file.join(&chunks(fill, length))).collect();
            let sent = held.iter().filter(|pages| file.can_send(pages.as_ref())).count();
            assert_eq!(sent, placed);
            for (fill, pages) in (0..).zip(&held) {
                assert_eq!(pages.as_ref(), vec![fill; length]);
            }
            held
        };
        let held = [all(SHORT, 200, 200), all(LEAST, 100, 88), all(SHORT + 1, 80, 65)];
        drop(held);
        for fill in 0..100 {
            for length in [LEAST, PIECE] {
                let pages = file.join(&chunks(fill, length));
                assert!(file.can_send(pages.as_ref()));
                assert_eq!(pages.as_ref(), vec![fill; length]);
            }
        }
    }

    #[test]
    fn bytes_on_their_way_outlive_their_place() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut viewer = TcpStream::connect(listener.local_addr().expect("bound")).expect("there");
        let (socket, _) = listener.accept().expect("a connection");
        let file = file();
        let old = file.join(&chunks(b'o', PIECE));
        let sent = file.send(&socket, &old.as_ref()[..LEAST]).expect("room in the socket");
        let place = old.as_ref().as_ptr().addr();
        // With this capacity, it is emptied at once.
        drop(old);
        let new = file.join(&chunks(b'n', PIECE));
        assert_eq!(new.as_ref().as_ptr().addr(), place, "the same place");
        let mut received = vec![0; sent];
        viewer.read_exact(&mut received).expect("what was sent");
        assert_eq!(received, vec![b'o'; sent]);
        assert_eq!(new.as_ref(), vec![b'n'; PIECE]);
    }
}
