//! Content in pages that the kernel can send to a viewer without copying them.
//!
//! A memory file, mapped once. Readers see plain bytes. A plaintext listener looks up their offset in
//! the file, and the kernel sends the pages directly (`sendfile(2)`). Such pages may still be in a
//! socket's queue after the last reference here is dropped, so a page is written only once. A thread returns dropped
//! content to the system, and its extent of the file gets new pages.
//!
//! If the system has no memory files or limits the address space, content is kept on the heap and is
//! copied when it is sent.

use std::{io, sync::Arc, thread::Builder};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};
use parking_lot::{Condvar, Mutex};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{FallocateFlags, MemfdFlags, SealFlags},
};

/// Smaller pieces are kept on the heap: copying them costs no more than a page's book-keeping.
const LEAST: usize = 64 << 10;

/// Smaller parts are copied to the socket, even if they are in the memory file.
const LEAST_SENT: usize = 16 << 10;

/// Extents are aligned to the largest pages: part of a page cannot be freed.
const ALIGNMENT: usize = 2 << 20;

/// Address space that a file may take. Only stored content takes memory.
const MAX_MAPPED: usize = 16 << 40;

/// The part of the capacity that dropped content may still take until the thread gets to it.
const DROPPED: usize = 32;

/// A memory file divided into extents of one size; empty if the system does not support it.
#[derive(Clone, Debug, Default)]
pub struct MemfdArena(Option<Arc<Mapped>>);

impl MemfdArena {
    /// Creates a file for `capacity` bytes of content in pieces of at most `piece` bytes.
    #[must_use]
    pub fn new(capacity: u64, piece: u32) -> Self {
        let mapped = Mapped::new(capacity, piece as usize).inspect_err(|error| {
            tracing::warn!(%error, "cannot use a memory file; large objects are copied when they are sent");
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
        Some(ArrivingPages { extent: Extent::take(mapped, length)?, written: 0 })
    }

    /// Whether [`Self::send`] can send `bytes`: they are in this file and long enough.
    #[must_use]
    pub fn can_send(&self, bytes: &[u8]) -> bool {
        bytes.len() >= LEAST_SENT
            && self.0.as_ref().is_some_and(|mapped| mapped.offset_of(bytes).is_some())
    }

    /// Sends bytes of this file to `socket` and returns how many the socket accepted.
    ///
    /// # Errors
    /// Those of `sendfile(2)`; `InvalidInput` if the bytes are not in this file.
    pub fn send(&self, socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        let found = self.0.as_ref().and_then(|mapped| Some((mapped, mapped.offset_of(bytes)?)));
        let (mapped, mut offset) = found.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(rustix::fs::sendfile(socket, &mapped.places.file, Some(&mut offset), bytes.len())?)
    }
}

/// A piece of content that is being written.
#[derive(Debug)]
pub struct ArrivingPages {
    extent: Extent,
    /// Bytes so far.
    written: usize,
}

impl ArrivingPages {
    /// Appends a chunk.
    ///
    /// # Errors
    /// If the system has no memory for it, or it is too long.
    pub fn append(&mut self, mut chunk: &[u8]) -> io::Result<()> {
        if chunk.len() > self.extent.length - self.written {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        while !chunk.is_empty() {
            let offset = (self.extent.start + self.written) as u64;
            let written = rustix::io::pwrite(&self.extent.mapped.places.file, chunk, offset)?;
            self.written += written;
            chunk = &chunk[written..];
        }
        Ok(())
    }

    /// The piece, if all of it has arrived.
    #[must_use]
    pub fn finish(self) -> Option<Pages> {
        let is_complete = self.written == self.extent.length;
        is_complete.then(|| Pages(Allocation::Placed(self.extent)))
    }
}

/// One piece of content.
#[derive(Debug)]
pub struct Pages(Allocation);

impl Pages {
    /// A copy of `chunks` on the heap.
    #[must_use]
    pub fn on_heap(chunks: &[Bytes]) -> Self {
        Self(Allocation::Heap(chunks.concat().into()))
    }

    /// The bytes, if they are on the heap.
    ///
    /// # Errors
    /// The pages, if they are not on the heap.
    pub fn into_heap(self) -> Result<Box<[u8]>, Self> {
        match self.0 {
            Allocation::Heap(bytes) => Ok(bytes),
            placed @ Allocation::Placed(_) => Err(Self(placed)),
        }
    }
}

#[derive(Debug)]
enum Allocation {
    Heap(Box<[u8]>),
    Placed(Extent),
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Allocation::Heap(bytes) => bytes,
            Allocation::Placed(place) => place.bytes(),
        }
    }
}

#[derive(Debug)]
struct Mapped {
    places: Arc<Places>,
    map: MmapRaw,
}

/// The file, and which of its extents are free.
#[derive(Debug)]
struct Places {
    file: OwnedFd,
    /// Length of an extent in bytes, whole pages.
    place: usize,
    free: Mutex<FreePlaces>,
    /// Notified when an extent is dropped, and at the end.
    dropped: Condvar,
    /// Dropped extents that may wait to be emptied.
    most_dropped: usize,
}

#[derive(Debug, Default)]
struct FreePlaces {
    returned: Vec<usize>,
    /// Extents that are not emptied yet.
    dropped: Vec<usize>,
    /// Extents from this offset on were never used.
    fresh: usize,
    is_closed: bool,
}

impl Mapped {
    fn new(capacity: u64, piece: usize) -> io::Result<Self> {
        let place = piece.next_multiple_of(ALIGNMENT);
        let capacity = usize::try_from(capacity).map_err(io::Error::other)?;
        let pieces = capacity / LEAST + 1;
        let length = pieces.saturating_mul(place).min(MAX_MAPPED);
        check_system(length as u64)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("forebay", flags)?;
        rustix::fs::ftruncate(&file, length as u64)?;
        // Reading past the end of a truncated file raises SIGBUS.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let map = MmapOptions::new().len(length).map_raw_read_only(&file)?;
        // Core dumps do not need content.
        let _ = map.advise(memmap2::Advice::DontDump);
        let places = Arc::new(Places {
            file,
            place,
            free: Mutex::default(),
            dropped: Condvar::new(),
            most_dropped: capacity / DROPPED / piece.max(1),
        });
        let emptied = Arc::clone(&places);
        Builder::new().name("forebay-free".into()).spawn(move || emptied.run())?;
        Ok(Self { places, map })
    }

    fn offset_of(&self, bytes: &[u8]) -> Option<u64> {
        let offset = (bytes.as_ptr() as usize).checked_sub(self.map.as_ptr() as usize)?;
        (offset < self.map.len()).then_some(offset as u64)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.places.free.lock().is_closed = true;
        self.places.dropped.notify_one();
    }
}

impl Places {
    /// The start of a free extent, if the file has one within `end` bytes.
    fn take(&self, end: usize) -> Option<usize> {
        let mut free = self.free.lock();
        if let Some(start) = free.returned.pop() {
            return Some(start);
        }
        let start = free.fresh;
        (start + self.place <= end).then(|| {
            free.fresh += self.place;
            start
        })
    }

    /// Gives an extent back. Emptying one takes as long as ten hits, so another thread does it if it keeps up.
    fn give_back(&self, start: usize) {
        let mut free = self.free.lock();
        if free.dropped.len() < self.most_dropped {
            free.dropped.push(start);
            drop(free);
            self.dropped.notify_one();
        } else {
            drop(free);
            self.empty(start);
        }
    }

    /// Returns the pages of an extent to the system. Those that a socket still holds live until they are sent.
    fn empty(&self, start: usize) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let emptied = rustix::fs::fallocate(&self.file, flags, start as u64, self.place as u64);
        // An extent that keeps its pages is not reused.
        if emptied.is_ok() {
            self.free.lock().returned.push(start);
        }
    }

    /// Empties dropped extents until the file is closed.
    fn run(&self) {
        let mut free = self.free.lock();
        while !free.is_closed {
            match free.dropped.pop() {
                Some(start) => {
                    drop(free);
                    self.empty(start);
                    free = self.free.lock();
                }
                None => self.dropped.wait(&mut free),
            }
        }
    }
}

/// Checks that the system uses small pages and allows a file of this length.
fn check_system(length: u64) -> io::Result<()> {
    // With huge pages every piece would take two megabytes.
    let setting = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let setting = std::fs::read_to_string(setting).unwrap_or_default();
    if ["[always]", "[within_size]", "[force]"].iter().any(|word| setting.contains(word)) {
        return Err(io::Error::other(
            "the system backs memory files with huge pages (shmem_enabled)",
        ));
    }
    // Beyond the limit the process would get a signal instead of an error.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < length) {
        return Err(io::Error::other("the file size limit is too low (ulimit -f)"));
    }
    Ok(())
}

/// An allocated extent of the file. Dropping it returns its pages to the system.
#[derive(Debug)]
struct Extent {
    mapped: Arc<Mapped>,
    start: usize,
    length: usize,
}

impl Extent {
    fn take(mapped: &Arc<Mapped>, length: usize) -> Option<Self> {
        let fits = length <= mapped.places.place;
        let start = fits.then(|| mapped.places.take(mapped.map.len()))??;
        Some(Self { mapped: Arc::clone(mapped), start, length })
    }

    /// The bytes of a filled extent.
    fn bytes(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "content is read in place, without a copy")]
        // SAFETY: `start` and `length` are within the map, which lives as long as `mapped`, and the file is
        // sealed against truncation. Only `ArrivingPages` writes to an extent, before it hands the extent out, and
        // it is emptied after `Drop`, when no reference is left. No other extent overlaps this one.
        unsafe {
            std::slice::from_raw_parts(self.mapped.map.as_ptr().add(self.start), self.length)
        }
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        self.mapped.places.give_back(self.start);
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
        let longer = file.join(&chunks(1, ALIGNMENT + 1));
        assert!(
            longer.as_ref().len() > ALIGNMENT && !file.can_send(longer.as_ref()),
            "on the heap"
        );
        assert!(!file.can_send(&vec![0; PIECE]));
    }

    #[test]
    fn places_are_taken_again_and_run_out_without_harm() {
        let file = file();
        let held: Vec<_> = (0..80).map(|fill| file.join(&chunks(fill, LEAST))).collect();
        let placed = held.iter().filter(|pages| file.can_send(pages.as_ref())).count();
        assert_eq!(placed, 65);
        for (fill, pages) in (0..).zip(&held) {
            assert_eq!(pages.as_ref(), vec![fill; LEAST]);
        }
        drop(held);
        for fill in 0..100 {
            let pages = file.join(&chunks(fill, PIECE));
            assert!(file.can_send(pages.as_ref()));
            assert_eq!(pages.as_ref(), vec![fill; PIECE]);
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
        drop(old);
        let new = file.join(&chunks(b'n', PIECE));
        assert_eq!(
            file.0.as_ref().expect("a file").places.free.lock().fresh,
            ALIGNMENT,
            "the same place"
        );
        let mut received = vec![0; sent];
        viewer.read_exact(&mut received).expect("what was sent");
        assert_eq!(received, vec![b'o'; sent]);
        assert_eq!(new.as_ref(), vec![b'n'; PIECE]);
    }
}
